/** Session messages: what the shared vectors do not ask. */
import { describe, expect, test } from "vitest";
import { MalformedMessage } from "../../src/protocol/errors.ts";
import {
  decodeFromDispatcher,
  decodeFromNode,
  encodeMessage,
  type FromDispatcher,
  type FromNode,
} from "../../src/protocol/messages.ts";
import { JOB_ID, NOW_MS } from "./fixed_payloads.ts";

const CHALLENGE = { v: 1, nonce: "a", audience: "b", time_ms: 1, expires_ms: 2, certificate: "c" };

function challenge(v: string): string {
  return JSON.stringify({ type: "challenge", ...CHALLENGE }).replace('"v":1', `"v":${v}`);
}

describe("decoding", () => {
  test("defaults are filled in", () => {
    const ack = { type: "ack", job_id: JOB_ID, lease: 1, outcome: "noted" };
    expect(decodeFromDispatcher(JSON.stringify(ack))).toEqual({ ...ack, reason: "", reward: 0, log_index: null });
    const refuse = { type: "refuse", job_id: JOB_ID, lease: 1, reason: "busy" };
    expect(decodeFromNode(JSON.stringify(refuse))).toEqual({ ...refuse, detail: "" });
    const welcome = { type: "welcome", session_id: JOB_ID, ping_interval_ms: 20_000, time_ms: NOW_MS };
    expect(decodeFromDispatcher(JSON.stringify(welcome))).toEqual({ ...welcome, your_address: null });
  });

  test("unknown members are dropped, also those that objects have", () => {
    const text = '{"type":"pong","time_ms":1,"__proto__":{"time_ms":2},"toString":1,"more":[{"a":1.5e300}]}';
    const pong = decodeFromDispatcher(text);
    expect(pong).toEqual({ type: "pong", time_ms: 1 });
    expect(Object.getPrototypeOf(pong)).toBe(Object.prototype);
  });

  test("of a member that stands twice the last counts", () => {
    expect(decodeFromNode('{"type":"ping","time_ms":1,"time_ms":2}')).toEqual({ type: "ping", time_ms: 2 });
    expect(() => decodeFromNode('{"type":"ping","time_ms":1,"time_ms":null}')).toThrow(MalformedMessage);
    expect(() => decodeFromNode('{"type":"ping","time_ms":1,"type":"pong"}')).toThrow(MalformedMessage);
  });

  test("another version is decoded, to be answered as such", () => {
    for (const [text, v] of [
      ["2", 2],
      ["-5", -5],
      ["-0", 0],
      ["9".repeat(400), Number.POSITIVE_INFINITY],
    ] as const) {
      expect(decodeFromDispatcher(challenge(text))).toEqual({ type: "challenge", ...CHALLENGE, v });
    }
    for (const text of ["1.0", "1e0", "true", '"1"', "null", "[1]"]) {
      expect(() => decodeFromDispatcher(challenge(text))).toThrow(MalformedMessage);
    }
  });

  test.each(["1.0", "1e2", "-0.0", "0.5", "9007199254740991.5", "9007199254740993", "1e400", "01", "true"])(
    "%s is no time",
    (number) => {
      expect(() => decodeFromNode(`{"type":"ping","time_ms":${number}}`)).toThrow(MalformedMessage);
    },
  );

  test.each(["toString", "constructor", "__proto__", "Ping", "ping\\u0000", "job", "hello", "record"])(
    "%s is no type of a message",
    (type) => {
      expect(() => decodeFromNode(`{"type":"${type}","time_ms":1}`)).toThrow(MalformedMessage);
      expect(() => decodeFromDispatcher(`{"type":"${type}","time_ms":1}`)).toThrow(MalformedMessage);
    },
  );

  test("half of a surrogate pair is refused wherever it stands", () => {
    for (const part of ['"\ud800"', '"\\ud800"', '{"\\udfff":1}', '"\\ud83c\\u0041"']) {
      expect(() => decodeFromNode(`{"type":"ping","time_ms":1,"more":${part}}`)).toThrow(MalformedMessage);
    }
    expect(decodeFromNode('{"type":"ping","time_ms":1,"more":"\\ud83c\\udf3e"}')).toEqual({ type: "ping", time_ms: 1 });
  });

  test("the frame's limit counts bytes of UTF-8", () => {
    const [head, tail] = ['{"type":"availability","max_concurrent_jobs":1,"reason":"', '"}'];
    const room = 65_536 - head.length - tail.length;
    const full = head + "é".repeat(Math.floor(room / 2)) + "a".repeat(room % 2) + tail;
    expect(decodeFromNode(full)).toMatchObject({ type: "availability" });
    expect(() => decodeFromNode(`${full} `)).toThrow(MalformedMessage);
    expect(() => decodeFromNode(" ".repeat(50_000_000))).toThrow(MalformedMessage);
  });
});

describe("encoding", () => {
  test("members stand in the schema's order, defaults too", () => {
    const refuse: FromNode = { detail: "", reason: "busy", lease: 1, job_id: JOB_ID, type: "refuse" };
    const text = `{"type":"refuse","job_id":"${JOB_ID}","lease":1,"reason":"busy","detail":""}`;
    expect(encodeMessage(refuse)).toBe(text);
  });

  test("what the other side would refuse is not sent", () => {
    const broken: readonly unknown[] = [
      { type: "ping", time_ms: -1 },
      { type: "ping", time_ms: 1.5 },
      { type: "ping" },
      { type: "ack", job_id: JOB_ID, lease: 1, outcome: "stored", reason: "", reward: 1, log_index: Number.NaN },
      { type: "pingg", time_ms: 1 },
      { type: "refuse", job_id: JOB_ID, lease: 1, reason: "tired", detail: "" },
      { type: "availability", max_concurrent_jobs: 1, reason: "\udfff" },
      { type: "availability", max_concurrent_jobs: 1, reason: "a".repeat(65_536) },
      { type: "hop", job_id: JOB_ID, lease: 1, url: "a".repeat(2_049) },
    ];
    for (const message of broken) {
      expect(() => encodeMessage(message as FromNode | FromDispatcher)).toThrow(MalformedMessage);
    }
  });

  test("any text comes back as it was", () => {
    const reason = '"\\/\b\f\n\r\t\u0000\u001f\u007f\u2028\u2029\ufeff草\u{1f33e}</script>';
    const message: FromNode = { type: "availability", max_concurrent_jobs: 0, reason };
    expect(decodeFromNode(encodeMessage(message))).toEqual(message);
  });
});
