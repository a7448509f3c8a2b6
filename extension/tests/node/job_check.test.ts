import { beforeAll, describe, expect, test } from "vitest";
import {
  type AllowedJob,
  checkJob,
  claimedLease,
  isAllowed,
  type RefusedJob,
  type Standing,
} from "../../src/node/job_check.ts";
import { INITIAL_RULES } from "../../src/node/owner_state.ts";
import { MalformedMessage, NotCanonical, WrongKind } from "../../src/protocol/errors.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { digest, type Statement, sign, signedBytes } from "../../src/protocol/statements.ts";
import type { Job, RefusalCode } from "../../src/protocol/types.ts";
import { freshParties, freshSigner, jobFor, NOW_MS, type Parties, signedJob } from "./signed_jobs.ts";

const IDLE: Standing = {
  rules: INITIAL_RULES,
  moment: { now_ms: NOW_MS, minute: 12 * 60, day_start_ms: NOW_MS - 12 * 3_600_000 },
  usage: { jobs: 0, bytes: 0 },
  surroundings: { connection: "wifi", on_mains: true },
  jobs_in_hand: 0,
  is_stopping: false,
  results_are_full: false,
};

let parties: Parties;

beforeAll(async () => {
  parties = await freshParties();
});

function check(statement: Statement, changes: Partial<Standing> = {}): Promise<AllowedJob | RefusedJob> {
  const { certificate, node } = parties;
  return checkJob(statement, { certificate, node_key: node.public_key, standing: { ...IDLE, ...changes } });
}

async function refusal(job: Partial<Job>, standing: Partial<Standing> = {}): Promise<RefusedJob> {
  const checked = await check(await signedJob(parties, job), standing);
  if (isAllowed(checked)) throw new Error("the job is allowed");
  return checked;
}

async function order(job: Partial<Job>, standing: Partial<Standing> = {}): Promise<AllowedJob["order"]> {
  const checked = await check(await signedJob(parties, job), standing);
  if (!isAllowed(checked)) throw new Error(checked.answer.reason);
  return checked.order;
}

test("a job that nothing is wrong with is allowed, with the digest that its record names", async () => {
  const statement = await signedJob(parties, { accept_language: "de, en;q=0.5" });
  const checked = await check(statement);
  expect(checked).toEqual({
    job: jobFor(parties, { accept_language: "de, en;q=0.5" }),
    job_hash: await digest(statement),
    order: {
      url: { href: "https://example.org/articles?id=7", scheme: "https", host: "example.org", port: 443 },
      accept_language: "de, en;q=0.5",
      max_wire_bytes: 5_242_880,
      max_body_bytes: 20_971_520,
      max_redirects: 5,
      timeout_ms: 30_000,
    },
  });
});

describe("a job whose signature does not hold is refused and not believed", () => {
  test("signed by another key", async () => {
    const statement = await sign("job", jobFor(parties), await freshSigner());
    const refused = await check(statement);
    expect(refused).toMatchObject({
      answer: { type: "refuse", job_id: jobFor(parties).job_id, lease: 7, reason: "bad_signature" },
      job: null,
    });
  });

  test("tampered with", async () => {
    const statement = await signedJob(parties, { url: "https://example.org/one" });
    const text = new TextDecoder().decode(statement.payload).replace("/one", "/two");
    const refused = await check({ ...statement, payload: new TextEncoder().encode(text) });
    expect(refused).toMatchObject({ answer: { reason: "bad_signature" }, job: null });
  });

  test("signed as another kind", async () => {
    const job = await signedJob(parties);
    const signature = await parties.job_key.sign(signedBytes("record", job.payload));
    const refused = await check({ ...job, signature });
    expect(refused).toMatchObject({ answer: { reason: "bad_signature" }, job: null });
  });
});

test.each<[string, Partial<Job>, RefusalCode]>([
  ["leased to another node", { node_key: "Kay64UG8yvCyLhqU000LxzYeUm0L_hLIl5S8kyKWbdc" }, "not_for_me"],
  ["expired", { expires_ms: NOW_MS }, "expired"],
  ["dated ahead", { issued_ms: NOW_MS + LIMITS.CLOCK_SKEW_MS + 1 }, "expired"],
])("a job %s is refused and its words are not believed", async (_, change, reason) => {
  const refused = await refusal(change);
  expect(refused.answer.reason).toBe(reason);
  expect(refused.job).toBeNull();
});

test("a job under a certificate that ran out is refused", async () => {
  const certificate = { ...parties.certificate, not_after_ms: NOW_MS };
  const statement = await signedJob(parties);
  const refused = await checkJob(statement, { certificate, node_key: parties.node.public_key, standing: IDLE });
  expect(refused).toMatchObject({ answer: { reason: "expired" }, job: null });
});

test.each<[string, Partial<Job>, RefusalCode]>([
  ["relayed", { mode: "relayed" }, "unsupported_mode"],
  ["with a header injected", { accept_language: "de\r\nCookie: a=b" }, "unsupported_mode"],
  ["with a line feed at the end of the languages", { accept_language: "de\n" }, "unsupported_mode"],
  ["with empty languages", { accept_language: "" }, "unsupported_mode"],
  ["with long languages", { accept_language: "x".repeat(201) }, "unsupported_mode"],
  ["with languages outside of ASCII", { accept_language: "日本" }, "unsupported_mode"],
  ["for a private address", { url: "http://192.168.1.1/" }, "url_refused"],
  ["for this machine", { url: "http://localhost/" }, "url_refused"],
  ["for a file", { url: "file:///etc/passwd" }, "url_refused"],
  ["for another port", { url: "https://example.org:8443/" }, "url_refused"],
  ["for a URL the browser writes in another way", { url: "https://example.org/a/../b" }, "unsupported_mode"],
  ["for a URL with a default port", { url: "https://example.org:443/" }, "unsupported_mode"],
  ["for a URL with a fragment", { url: "https://example.org/#top" }, "unsupported_mode"],
  ["for a host in capitals", { url: "https://EXAMPLE.org/" }, "unsupported_mode"],
])("a job %s is refused", async (_, change, reason) => {
  const refused = await refusal(change);
  expect(refused.answer).toMatchObject({ type: "refuse", lease: 7, reason });
  expect(refused.answer.detail).not.toBe("");
  expect(refused.job).toEqual(jobFor(parties, change));
});

test.each<[string, Partial<Standing>, RefusalCode]>([
  ["the domain is blocked", { rules: { ...INITIAL_RULES, blocked_domains: ["example.org"] } }, "blocked_by_owner"],
  ["the purpose is not allowed", { rules: { ...INITIAL_RULES, purposes: ["archive"] } }, "purpose_not_allowed"],
  ["the node is stopping", { is_stopping: true }, "stopping"],
  ["the owner paused", { rules: { ...INITIAL_RULES, pause: { until_ms: null } } }, "paused"],
  ["it is outside the hours", { rules: { ...INITIAL_RULES, hours: [{ start: 0, end: 60 }] } }, "outside_schedule"],
  ["the jobs of the day are done", { rules: { ...INITIAL_RULES, daily_jobs: 0 } }, "cap_reached"],
  ["the bytes of the day are used", { usage: { jobs: 0, bytes: 500_000_000 } }, "cap_reached"],
  [
    "the device is not on Wi-Fi",
    { rules: { ...INITIAL_RULES, only_on_wifi: true }, surroundings: { connection: "other", on_mains: true } },
    "paused",
  ],
  ["too much waits", { results_are_full: true }, "busy"],
  ["enough jobs are in hand", { jobs_in_hand: 4 }, "busy"],
])("a job is refused where %s", async (_, change, reason) => {
  const refused = await refusal({}, change);
  expect(refused.answer.reason).toBe(reason);
  expect(refused.job).toEqual(jobFor(parties));
});

test("bounds above the protocol's are cut, those below are kept", async () => {
  const large = 9_007_199_254_740_991;
  const greedy = { max_wire_bytes: large, max_body_bytes: large, max_redirects: large, timeout_ms: large };
  expect(await order({ ...greedy, expires_ms: NOW_MS + 1_000_000 })).toMatchObject({
    max_wire_bytes: LIMITS.WIRE_BYTES,
    max_body_bytes: LIMITS.BODY_BYTES,
    max_redirects: LIMITS.REDIRECTS,
    timeout_ms: LIMITS.JOB_LIFETIME_MS,
  });
  const modest = { max_wire_bytes: 10, max_body_bytes: 20, max_redirects: 0, timeout_ms: 1_000 };
  expect(await order(modest)).toMatchObject(modest);
  expect(await order({ expires_ms: NOW_MS + 500 })).toMatchObject({ timeout_ms: 500 });
});

test("bytes that are no job are an error, whatever their signature", async () => {
  const statement = await signedJob(parties);
  const bytes = (text: string) => new TextEncoder().encode(text);
  const json = new TextDecoder().decode(statement.payload);
  await expect(check({ ...statement, kind: "hello" })).rejects.toBeInstanceOf(WrongKind);
  await expect(check({ ...statement, payload: bytes("{}") })).rejects.toBeInstanceOf(MalformedMessage);
  await expect(check({ ...statement, payload: bytes(` ${json}`) })).rejects.toBeInstanceOf(NotCanonical);
});

test("the claimed lease is read from a job alone", async () => {
  const statement = await sign("job", jobFor(parties, { lease: 9 }), await freshSigner());
  expect(claimedLease(statement)).toEqual({ job_id: jobFor(parties).job_id, lease: 9 });
  expect(() => claimedLease({ ...statement, kind: "record" })).toThrow(WrongKind);
  expect(() => claimedLease({ ...statement, payload: new Uint8Array(3) })).toThrow(MalformedMessage);
});
