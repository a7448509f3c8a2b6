/** Canonical JSON: what is encoded, and what decoding refuses besides the shared vectors. */
import { describe, expect, test } from "vitest";
import { fromUtf8, toUtf8 } from "../../src/protocol/bytes.ts";
import { decodeCanonical, encodeCanonical } from "../../src/protocol/canonical.ts";
import { MalformedMessage, NotCanonical } from "../../src/protocol/errors.ts";
import type { Job, Record } from "../../src/protocol/types.ts";
import { HELLO, JOB, RECORD } from "./fixed_payloads.ts";

const RECORD_TEXT = fromUtf8(encodeCanonical("Record", RECORD));
const JOB_TEXT = fromUtf8(encodeCanonical("Job", JOB));

describe("encoding", () => {
  test("the members' order is the schema's, whatever the value's", () => {
    const turned = Object.fromEntries(Object.entries(RECORD).toReversed()) as unknown as Record;
    expect(fromUtf8(encodeCanonical("Record", turned))).toBe(RECORD_TEXT);
    expect(RECORD_TEXT).toBe(JSON.stringify(RECORD));
  });

  test("a member that the table does not know is left out", () => {
    const more: Job & { readonly colour: string } = { ...JOB, colour: "green" };
    expect(fromUtf8(encodeCanonical("Job", more))).toBe(JOB_TEXT);
  });

  test.each<[string, Partial<{ [Name in keyof Record]: unknown }>]>([
    ["half of a surrogate pair", { final_url: "https://example.org/\ud800" }],
    ["a negative size", { body_bytes: -1 }],
    ["a size beyond 2^53 - 1", { body_bytes: 2 ** 53 }],
    ["a fraction", { body_bytes: 1.5 }],
    ["no number", { body_bytes: Number.NaN }],
    ["a bigint", { body_bytes: 1n }],
    ["a number as text", { body_bytes: "1" }],
    ["a URL of 2,049 characters", { final_url: "a".repeat(2_049) }],
    ["six hops", { hops: Array(6).fill("https://example.org/") }],
    ["a line feed in a header", { headers: [["etag", "a\n"]] }],
    ["a header of one part", { headers: [["etag"]] }],
    ["a header that is an object", { headers: [{ name: "etag", value: "a" }] }],
    ["a list that is a text", { hops: "https://example.org/" }],
    ["null for what is not nullable", { status: null }],
    ["a missing member", { evidence: undefined }],
    ["another version", { v: 2 }],
  ])("%s is not encoded", (_, changed) => {
    expect(() => encodeCanonical("Record", { ...RECORD, ...changed } as Record)).toThrow(MalformedMessage);
  });

  test("what is no object is not encoded", () => {
    for (const value of [null, "{}", 1, []]) {
      expect(() => encodeCanonical("Job", value as unknown as Job)).toThrow(MalformedMessage);
    }
  });

  test("minus zero is encoded as zero", () => {
    expect(fromUtf8(encodeCanonical("Record", { ...RECORD, body_bytes: -0 }))).toContain('"body_bytes":0,');
  });
});

describe("decoding", () => {
  test("what was encoded comes back, its members in the schema's order", () => {
    for (const [name, value] of [
      ["Record", RECORD],
      ["Job", JOB],
      ["Hello", HELLO],
    ] as const) {
      const decoded = decodeCanonical(name, encodeCanonical(name, value as never));
      expect(decoded).toEqual(value);
      expect(Object.keys(decoded)).toEqual(Object.keys(value));
    }
  });

  test.each([
    ["1.0 for an integer", '"body_bytes":58,', '"body_bytes":58.0,'],
    ["an exponent", '"body_bytes":58,', '"body_bytes":58e0,'],
    ["minus zero with a fraction", '"body_bytes":58,', '"body_bytes":-0.0,'],
    ["true for 1", '"v":1,', '"v":true,'],
    ["1.0 for the version", '"v":1,', '"v":1.0,'],
    ["the version as text", '"v":1,', '"v":"1",'],
    ["2^53 + 1, which rounds to 2^53", '"body_bytes":58,', '"body_bytes":9007199254740993,'],
    ["2^53 + a fraction", '"body_bytes":58,', '"body_bytes":9007199254740991.5,'],
    ["a header of one part", '["etag","\\"a1\\""]', '["etag"]'],
    ["a header's name with a space", '["etag",', '["etag ",'],
    ["a member that every object has", '{"v":1,', '{"constructor":1,"v":1,'],
    ["a prototype", '{"v":1,', '{"__proto__":{},"v":1,'],
    ["null for a member without null", '"hops":["https://example.org/b"]', '"hops":null'],
  ])("%s is malformed", (_, part, changed) => {
    expect(RECORD_TEXT).toContain(part);
    expect(() => decodeCanonical("Record", toUtf8(RECORD_TEXT.replace(part, changed)))).toThrow(MalformedMessage);
  });

  test.each([
    ["a header of three parts", '["etag","\\"a1\\""]', '["etag","\\"a1\\"",1]'],
    ["minus zero", '"body_bytes":58,', '"body_bytes":-0,'],
    ["a default left out at the end", ',"evidence":[]}', "}"],
    ["a member twice, the first malformed", '{"v":1,', '{"v":2,"v":1,'],
    ["a line feed at the end", ',"evidence":[]}', ',"evidence":[]}\n'],
    ["white space in a list", "[]}", "[ ]}"],
    ["a surrogate pair as escapes", "articles?id=7", "\\ud83c\\udf3e"],
    ["U+2028 as an escape", "articles?id=7", "\\u2028"],
  ])("%s is not canonical", (_, part, changed) => {
    expect(RECORD_TEXT).toContain(part);
    expect(() => decodeCanonical("Record", toUtf8(RECORD_TEXT.replace(part, changed)))).toThrow(NotCanonical);
  });

  test("lengths are counted in code points", () => {
    const with_evidence = (text: string) => encodeCanonical("Record", { ...RECORD, evidence: [text] });
    const kept = with_evidence("\u{1f33e}".repeat(256));
    expect(decodeCanonical("Record", kept).evidence).toEqual(["\u{1f33e}".repeat(256)]);
    for (const text of ["\u{1f33e}".repeat(257), `${"\u{1f33e}".repeat(256)}a`, "a".repeat(257)]) {
      expect(() => with_evidence(text)).toThrow(MalformedMessage);
    }
  });

  test("patterns end at the end of the text", () => {
    for (const job_id of [`${JOB.job_id}\n`, ` ${JOB.job_id}`, `${JOB.job_id}\u2028`]) {
      expect(() => encodeCanonical("Job", { ...JOB, job_id })).toThrow(MalformedMessage);
    }
    expect(() => encodeCanonical("Hello", { ...HELLO, country: "PT\n" })).toThrow(MalformedMessage);
  });

  test("an error says where, and repeats nothing that was sent", () => {
    const hostile = JOB_TEXT.replace('"search"', '"<script>"');
    expect(() => decodeCanonical("Job", toUtf8(hostile))).toThrow(/^Job\.purpose: expected one of (?!.*script)/);
  });
});
