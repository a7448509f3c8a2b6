import { beforeAll, expect, test } from "vitest";
import type { FetchedPage } from "../../src/node/fetching.ts";
import type { AllowedJob } from "../../src/node/job_check.ts";
import { buildRecord, recordedHeaders } from "../../src/node/record_builder.ts";
import { sha256Hex } from "../../src/protocol/keys.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { askedBy, checkAnswers, openRecord } from "../../src/protocol/record.ts";
import { digest } from "../../src/protocol/statements.ts";
import { checkUrl, isRefusal } from "../../src/protocol/urls.ts";
import { freshParties, jobFor, type Parties, signedJob, WALLET } from "./signed_jobs.ts";

const BODY = new TextEncoder().encode("<p>a page</p>");

let parties: Parties;
let allowed: AllowedJob;
let page: FetchedPage;

beforeAll(async () => {
  parties = await freshParties();
  const job = jobFor(parties);
  const url = checkUrl(job.url);
  if (isRefusal(url)) throw new Error(url.detail);
  const order = {
    url,
    accept_language: null,
    max_wire_bytes: 1,
    max_body_bytes: 1,
    max_redirects: 1,
    timeout_ms: 1,
  };
  allowed = { job, job_hash: await digest(await signedJob(parties)), order };
  page = {
    final_url: "https://www.example.org/7",
    hops: ["https://example.org/7"],
    status: 404,
    headers: [
      ["content-type", "text/html; charset=utf-8"],
      ["set-cookie", "a=b"],
      ["etag", '"x"'],
    ],
    content_encoding: "identity",
    payload: BODY,
    body_hash: await sha256Hex(BODY),
    body_bytes: BODY.length,
  };
});

test("a record answers its job, says what came, and is signed by the node", async () => {
  const statement = await buildRecord(allowed, page, {
    signer: parties.node,
    wallet: WALLET,
    started_ms: 10,
    finished_ms: 20,
  });
  const record = await openRecord(statement);
  checkAnswers(record, askedBy(allowed.job, allowed.job_hash));
  expect(record).toMatchObject({
    wallet: WALLET,
    final_url: "https://www.example.org/7",
    hops: ["https://example.org/7"],
    status: 404,
    headers: [["etag", '"x"']],
    content_type: "text/html; charset=utf-8",
    content_encoding: "identity",
    body_hash: await sha256Hex(BODY),
    body_bytes: BODY.length,
    wire_bytes: BODY.length,
    started_ms: 10,
    finished_ms: 20,
    evidence: [],
  });
});

test("a content type that is no field value is left out", async () => {
  const headers = [["content-type", "text/html\u0000"]] as const;
  const by = { signer: parties.node, wallet: WALLET, started_ms: 10, finished_ms: 20 };
  const record = await openRecord(await buildRecord(allowed, { ...page, headers }, by));
  expect(record.content_type).toBeNull();
});

test("kept headers stand in the record's order, repeated ones are joined, others are left out", () => {
  expect(
    recordedHeaders([
      ["x-robots-tag", "noai"],
      ["server", "nginx"],
      ["etag", "W/1"],
      ["x-robots-tag", "noindex"],
      ["link", ""],
      ["content-language", "fran\u00e7ais\t"],
    ]),
  ).toEqual([
    ["content-language", "fran\u00e7ais\t"],
    ["etag", "W/1"],
    ["link", ""],
    ["x-robots-tag", "noai, noindex"],
  ]);
});

test.each([
  ["a line feed", "a\nb"],
  ["a line feed at the end", "a\n"],
  ["a null byte", "a\u0000"],
  ["what is not Latin-1", "\u4e00"],
  ["too many characters", "x".repeat(LIMITS.HEADER_VALUE_BYTES + 1)],
])("a header with %s is left out", (_, value) => {
  expect(recordedHeaders([["etag", value]])).toEqual([]);
});

test("a header of the largest size is kept, and one that joins to more is not", () => {
  const largest = "x".repeat(LIMITS.HEADER_VALUE_BYTES);
  expect(recordedHeaders([["link", largest]])).toEqual([["link", largest]]);
  expect(
    recordedHeaders([
      ["link", largest],
      ["link", ""],
    ]),
  ).toEqual([]);
});
