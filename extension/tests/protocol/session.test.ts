/** The session's table, walked from both ends, and the handshake. */
import { beforeAll, describe, expect, test } from "vitest";
import rules from "../../schema/rules-v1.json";
import { toBase64url } from "../../src/protocol/base64url.ts";
import { MalformedMessage, NotForMe, SessionViolation, UnsupportedVersion } from "../../src/protocol/errors.ts";
import type { Signer } from "../../src/protocol/keys.ts";
import { decodeFromDispatcher, encodeMessage } from "../../src/protocol/messages.ts";
import {
  answerChallenge,
  openChallenge,
  openHello,
  Session,
  type Side,
  type State,
} from "../../src/protocol/session.ts";
import { parse, sign, toBytes } from "../../src/protocol/statements.ts";
import type { Certificate, Challenge } from "../../src/protocol/types.ts";
import { HELLO, NODE_KEY, NOW_MS } from "./fixed_payloads.ts";
import { countingSeed, seededSigner } from "./seeded_signer.ts";

const SIDES: readonly Side[] = ["dispatcher", "node"];
const NAMES = [...new Set(rules.transitions.map(([, , name]) => String(name)))];
const WELCOMED: readonly (readonly [Side, string])[] = [
  ["dispatcher", "challenge"],
  ["node", "hello"],
  ["dispatcher", "welcome"],
];
const PATHS: readonly (readonly [State, readonly (readonly [Side, string])[]])[] = [
  ["opened", []],
  ["challenged", WELCOMED.slice(0, 1)],
  ["greeted", WELCOMED.slice(0, 2)],
  ["ready", WELCOMED],
  ["draining", [...WELCOMED, ["dispatcher", "drain"]]],
  ["closed", [["node", "error"]]],
];
const WORK_OF_NODE = ["accept", "availability", "error", "failure", "hop", "ping", "record", "refuse"];
const WORK_OF_DISPATCHER = ["ack", "balance", "cancel", "error", "hop_verdict", "pong", "reputation"];
const ADMITTED: Readonly<Record<State, Readonly<Record<Side, readonly string[]>>>> = {
  opened: { dispatcher: ["challenge", "error"], node: ["error"] },
  challenged: { dispatcher: ["error"], node: ["error", "hello"] },
  greeted: { dispatcher: ["error", "welcome"], node: ["error"] },
  ready: { dispatcher: [...WORK_OF_DISPATCHER, "drain", "job"].sort(), node: WORK_OF_NODE },
  draining: { dispatcher: WORK_OF_DISPATCHER, node: WORK_OF_NODE },
  closed: { dispatcher: [], node: [] },
};

describe.each(PATHS)("while %s", (state, path) => {
  test.each(SIDES)("a %s sends what PROTOCOL.md, section 6.3, lists and nothing else", (side) => {
    const admitted = [...NAMES, "nonsense", "ready dispatcher"].filter((name) => {
      const session = new Session();
      for (const [sender, sent] of path) session.on(sender, sent);
      expect(session.state).toBe(state);
      try {
        expect(session.on(side, name)).toBe(session.state);
        return true;
      } catch (error) {
        expect(error).toBeInstanceOf(SessionViolation);
        expect(session.state).toBe(state);
        return false;
      }
    });
    expect(admitted.sort()).toEqual(ADMITTED[state][side]);
  });
});

test("what follows what", () => {
  const session = new Session();
  const states = [...WELCOMED, ["dispatcher", "job"], ["dispatcher", "drain"], ["node", "record"], ["node", "error"]];
  const followed = states.map(([sender, name]) => session.on(sender as Side, String(name)));
  expect(followed).toEqual(["challenged", "greeted", "ready", "ready", "draining", "draining", "closed"]);
});

describe("the handshake", () => {
  let root: Signer;
  let node: Signer;
  let certificate: Certificate;
  let challenge: Challenge;

  beforeAll(async () => {
    [root, node] = await Promise.all([seededSigner(countingSeed(0)), seededSigner(countingSeed(64))]);
    certificate = {
      v: 1,
      root_key: root.public_key,
      job_key: (await seededSigner(countingSeed(32))).public_key,
      serial: 1,
      not_before_ms: NOW_MS,
      not_after_ms: NOW_MS + 3_600_000,
    };
    challenge = {
      type: "challenge",
      v: 1,
      nonce: HELLO.nonce,
      audience: HELLO.audience,
      time_ms: NOW_MS,
      expires_ms: HELLO.expires_ms,
      certificate: toBase64url(toBytes(await sign("certificate", certificate, root))),
    };
  });

  test("goes from challenge to hello over bytes", async () => {
    const received = decodeFromDispatcher(encodeMessage(challenge));
    expect(received).toEqual(challenge);
    const context = { audience: HELLO.audience, root_key: root.public_key, now_ms: NOW_MS };
    expect(await openChallenge(challenge, context)).toEqual(certificate);
    const answer = await answerChallenge(challenge, HELLO, node);
    expect(await openHello(parse(toBytes(answer)), challenge, NOW_MS + 5)).toEqual(HELLO);
    expect(node.public_key).toBe(NODE_KEY);
  });

  test("a hello is signed for no other challenge", async () => {
    for (const changed of [{ nonce: toBase64url(new Uint8Array(32)) }, { audience: "ws://a" }, { expires_ms: 1 }]) {
      await expect(answerChallenge({ ...challenge, ...changed }, HELLO, node)).rejects.toThrow(NotForMe);
    }
  });

  test("another version is said before anything else is found wrong", async () => {
    const context = { audience: "wss://elsewhere.example", root_key: null, now_ms: 0 };
    for (const v of [0, 2, -1, Number.POSITIVE_INFINITY]) {
      await expect(openChallenge({ ...challenge, v }, context)).rejects.toThrow(UnsupportedVersion);
    }
  });

  test("a nonce and a certificate have one spelling", async () => {
    const context = { audience: HELLO.audience, root_key: null, now_ms: NOW_MS };
    for (const changed of [{ nonce: `${challenge.nonce}=` }, { certificate: `${challenge.certificate}AA` }]) {
      await expect(openChallenge({ ...challenge, ...changed }, context)).rejects.toThrow(MalformedMessage);
    }
    const shorter = { ...challenge, nonce: toBase64url(new Uint8Array(33)) };
    await expect(openChallenge(shorter, context)).rejects.toThrow(NotForMe);
  });
});
