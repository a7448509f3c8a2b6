/** Statements signed here and opened here; certificates, jobs and records at the ends of their times. */
import { beforeAll, describe, expect, test } from "vitest";
import { concatenate, fromUtf8, toUtf8 } from "../../src/protocol/bytes.ts";
import { BadSignature, Expired, MalformedMessage, NotForMe, WrongKind } from "../../src/protocol/errors.ts";
import { checkValidity, openCertificate, openJob } from "../../src/protocol/job.ts";
import type { Signer } from "../../src/protocol/keys.ts";
import { askedBy, checkAnswers, openRecord, RECORDED_HEADERS } from "../../src/protocol/record.ts";
import {
  digest,
  HEADER_BYTES,
  openSelfSigned,
  openStatement,
  parse,
  payloadOf,
  type Statement,
  sign,
  signedBytes,
  split,
  toBytes,
} from "../../src/protocol/statements.ts";
import type { Certificate } from "../../src/protocol/types.ts";
import { HELLO, JOB, NODE_KEY, NOW_MS, RECORD } from "./fixed_payloads.ts";
import { countingSeed, seededSigner } from "./seeded_signer.ts";

let root: Signer;
let job_signer: Signer;
let node: Signer;
let stranger: Signer;
let certificate: Certificate;

beforeAll(async () => {
  [root, job_signer, node, stranger] = await Promise.all(
    [0, 32, 64, 96].map((first) => seededSigner(countingSeed(first))) as [
      Promise<Signer>,
      Promise<Signer>,
      Promise<Signer>,
      Promise<Signer>,
    ],
  );
  certificate = {
    v: 1,
    root_key: root.public_key,
    job_key: job_signer.public_key,
    serial: 1,
    not_before_ms: NOW_MS,
    not_after_ms: NOW_MS + 1_000,
  };
});

describe("the envelope", () => {
  test("of the protocol's example has its digest", async () => {
    const statement = await sign("job", JOB, job_signer);
    expect(await digest(statement)).toBe("6b0395e6e20cbd283640de1ec23e628e392cf55fe2e4086b7f70c1a885913ce8");
    expect(fromUtf8(signedBytes("job", toUtf8("{}")))).toBe("meadow/v1/job\n{}");
    expect(statement.payload).toHaveLength(0x193);
  });

  test("comes back from its bytes, wherever they stand in memory", async () => {
    const statement = await sign("record", RECORD, node);
    const body = toUtf8("the body");
    const memory = concatenate(new Uint8Array(7), toBytes(statement), body, new Uint8Array(5));
    const frame = memory.subarray(7, memory.length - 5);
    const taken = split(frame);
    expect(taken.statement).toEqual(statement);
    expect(taken.attachment).toEqual(body);
    expect(taken.attachment.buffer).toBe(memory.buffer);
    expect(await openRecord(taken.statement)).toEqual(RECORD);
    expect(() => parse(frame)).toThrow(MalformedMessage);
    memory.fill(0);
    expect(await openRecord(taken.statement)).toEqual(RECORD);
  });

  test("holds for its kind and its key alone", async () => {
    const statement = await sign("hello", HELLO, node);
    expect(await openStatement(statement, "hello", NODE_KEY)).toEqual(HELLO);
    await expect(openStatement(statement, "hello", stranger.public_key)).rejects.toThrow(BadSignature);
    await expect(openStatement(statement, "record", NODE_KEY)).rejects.toThrow(WrongKind);
    const renamed: Statement = { ...statement, kind: "record" };
    await expect(openStatement(renamed, "record", NODE_KEY)).rejects.toThrow(BadSignature);
    expect(() => payloadOf(statement, "job")).toThrow(WrongKind);
  });

  test("that names another signer is refused", async () => {
    const statement = await sign("hello", HELLO, stranger);
    await expect(openSelfSigned(statement, "hello", "node_key")).rejects.toThrow(BadSignature);
    await expect(openSelfSigned(statement, "record", "node_key")).rejects.toThrow(WrongKind);
  });

  test("has a payload of at most 60,000 bytes", async () => {
    const overhead = (await sign("hello", { ...HELLO, audience: "" }, node)).payload.length;
    const longest = await sign("hello", { ...HELLO, audience: "a".repeat(60_000 - overhead) }, node);
    expect(toBytes(longest)).toHaveLength(60_000 + HEADER_BYTES);
    expect(parse(toBytes(longest))).toEqual(longest);
    const beyond: Statement = { ...longest, payload: concatenate(longest.payload, toUtf8(" ")) };
    expect(() => parse(toBytes(beyond))).toThrow("limited to 60000 bytes");
    const longer = sign("hello", { ...HELLO, audience: "a".repeat(60_001 - overhead) }, node);
    await expect(longer).rejects.toThrow(MalformedMessage);
  });

  test("is not signed over a payload outside of its bounds", async () => {
    await expect(sign("hello", { ...HELLO, agent: "a\n" }, node)).rejects.toThrow(MalformedMessage);
  });
});

describe("a job and its certificate", () => {
  test("hold from 60 s before their beginning until their end", async () => {
    const certified = await sign("certificate", certificate, root);
    for (const now_ms of [NOW_MS - 60_000, NOW_MS + 999]) {
      expect(await openCertificate(certified, { now_ms, root_key: null })).toEqual(certificate);
    }
    for (const now_ms of [NOW_MS - 60_001, NOW_MS + 1_000]) {
      await expect(openCertificate(certified, { now_ms, root_key: null })).rejects.toThrow(Expired);
    }
    const trusting_another = openCertificate(certified, { now_ms: NOW_MS, root_key: stranger.public_key });
    await expect(trusting_another).rejects.toThrow(NotForMe);
    expect(() => checkValidity("thing", 5, 10, 4)).toThrow("dated 1 ms ahead");
    expect(() => checkValidity("thing", 5, 10, 12)).toThrow("expired 2 ms ago");
  });

  test("are for one node and of one key", async () => {
    const context = { certificate, node_key: NODE_KEY, now_ms: NOW_MS };
    expect(await openJob(await sign("job", JOB, job_signer), context)).toEqual(JOB);
    await expect(openJob(await sign("job", JOB, root), context)).rejects.toThrow(BadSignature);
    const elsewhere = await sign("job", { ...JOB, node_key: stranger.public_key }, job_signer);
    await expect(openJob(elsewhere, context)).rejects.toThrow(NotForMe);
  });
});

describe("a record", () => {
  test("answers its job and no other", () => {
    const asked = askedBy(JOB, RECORD.job_hash);
    expect(() => checkAnswers(RECORD, asked)).not.toThrow();
    for (const field of Object.keys(asked) as (keyof typeof asked)[]) {
      expect(() => checkAnswers(RECORD, { ...asked, [field]: "another" })).toThrow(`the record's ${field}`);
    }
    expect(Object.keys(asked)).toHaveLength(7);
  });

  test("keeps nine headers, in the order of the alphabet", () => {
    expect(RECORDED_HEADERS).toHaveLength(9);
    expect(RECORDED_HEADERS.toSorted()).toEqual(RECORDED_HEADERS);
  });
});
