import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type SessionOptions, WebSocketSession } from "../../src/adapters/websocket_session.ts";
import { parseDispatcherUrl } from "../../src/node/dispatcher_url.ts";
import { DispatcherRefused, DispatcherUnreachable } from "../../src/node/errors.ts";
import type { Signer } from "../../src/protocol/keys.ts";
import { freshSigner, WALLET } from "../node/signed_jobs.ts";
import { AUDIENCE, challengeBy, PlayedSocket, welcomeWith } from "./played_socket.ts";

/** Not faked below. */
const soon = setTimeout;

let root: Signer;
let signer: Signer;
let awake: ReturnType<typeof vi.fn<() => void>>;
let leaving: AbortController;

beforeEach(async () => {
  [root, signer] = [await freshSigner(), await freshSigner()];
  awake = vi.fn<() => void>();
  leaving = new AbortController();
  PlayedSocket.made.length = 0;
  vi.stubGlobal("WebSocket", PlayedSocket);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function options(changes: Partial<SessionOptions> = {}): SessionOptions {
  return {
    dispatcher: parseDispatcherUrl("http://127.0.0.1:8787"),
    root_key: null,
    signer,
    helloFor: ({ nonce, audience, expires_ms }) => ({
      v: 1,
      nonce,
      audience,
      expires_ms,
      node_key: signer.public_key,
      wallet: WALLET,
      agent: "test",
      country: null,
      modes: ["direct"],
      purposes: ["search"],
      max_concurrent_jobs: 1,
    }),
    awake,
    signal: leaving.signal,
    ...changes,
  };
}

/** Let what waits for nothing but computations go on: verifying and signing take turns of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => soon(resolve));
}

async function until(look: () => boolean): Promise<void> {
  while (!look()) await settle();
}

async function opened({ ping_interval_ms = 20_000, lasts_ms = 3_600_000 } = {}): Promise<WebSocketSession> {
  const opening = WebSocketSession.open(options());
  const socket = PlayedSocket.newest;
  socket.stand();
  socket.say(await challengeBy(root, { lasts_ms }));
  await until(() => socket.sent.length === 1);
  socket.say(welcomeWith(ping_interval_ms));
  return await opening;
}

/** How a session's frames end: what came, then null or the error. */
async function drained(session: WebSocketSession): Promise<{ readonly frames: number; readonly error: unknown }> {
  let frames = 0;
  try {
    for await (const _ of session.frames()) frames += 1;
  } catch (error) {
    return { frames, error };
  }
  return { frames, error: null };
}

describe("silence", () => {
  test("of 60 s ends a session", async () => {
    const ended = drained(await opened());
    await vi.advanceTimersByTimeAsync(59_000);
    PlayedSocket.newest.say({ type: "pong", time_ms: 1 });
    await settle();
    await vi.advanceTimersByTimeAsync(59_000);
    expect(PlayedSocket.newest.readyState).toBe(PlayedSocket.OPEN);
    await vi.advanceTimersByTimeAsync(1_000);
    const { frames, error } = await ended;
    expect(frames).toBe(1);
    expect(error).toBeInstanceOf(DispatcherUnreachable);
    expect(String(error)).toContain("60000 ms");
    expect(PlayedSocket.newest.readyState).toBe(2);
  });

  test.each(["before the connection stands", "before the challenge", "before the welcome"])("%s", async (stage) => {
    const opening = expect(WebSocketSession.open(options())).rejects.toBeInstanceOf(DispatcherUnreachable);
    const socket = PlayedSocket.newest;
    if (stage !== "before the connection stands") socket.stand();
    if (stage === "before the welcome") {
      socket.say(await challengeBy(root));
      await until(() => socket.sent.length === 1);
    }
    await settle();
    await vi.advanceTimersByTimeAsync(14_999);
    expect(socket.readyState).toBeLessThan(2);
    await vi.advanceTimersByTimeAsync(1);
    await opening;
    expect(socket.readyState).toBe(2);
  });
});

describe("pings", () => {
  test.each([
    [1, 1_000],
    [5_000, 5_000],
    [600_000, 20_000],
  ])("asked for every %i ms come every %i ms, and the worker is kept awake beside them", async (asked, every_ms) => {
    await opened({ ping_interval_ms: asked });
    await vi.advanceTimersByTimeAsync(every_ms * 3 + 1);
    expect(PlayedSocket.newest.messages().map(({ type }) => type)).toEqual(["ping", "ping", "ping"]);
    expect(awake).toHaveBeenCalledTimes(3);
  });

  test("end with the connection", async () => {
    await opened();
    PlayedSocket.newest.fall();
    await vi.advanceTimersByTimeAsync(100_000);
    expect(PlayedSocket.newest.messages()).toEqual([]);
    expect(awake).not.toHaveBeenCalled();
  });

  test("end with the certificate, and so does the session", async () => {
    const ended = drained(await opened({ lasts_ms: 50_000 }));
    await vi.advanceTimersByTimeAsync(60_001);
    expect(PlayedSocket.newest.messages()).toHaveLength(2);
    expect((await ended).error).toBeNull();
    expect(PlayedSocket.newest.readyState).toBe(2);
  });
});

describe("the end of a session", () => {
  test("from here is at once, though the dispatcher never answers the close; what came before it is dropped", async () => {
    const session = await opened();
    PlayedSocket.newest.say({ type: "pong", time_ms: 1 });
    session.close();
    PlayedSocket.newest.say({ type: "pong", time_ms: 2 });
    expect(await drained(session)).toEqual({ frames: 0, error: null });
    session.send({ type: "ping", time_ms: 1 });
    expect(PlayedSocket.newest.messages()).toEqual([]);
  });

  test("from there comes after what was said before it", async () => {
    const session = await opened();
    PlayedSocket.newest.say({ type: "pong", time_ms: 1 });
    PlayedSocket.newest.fall();
    expect(await drained(session)).toEqual({ frames: 1, error: null });
  });

  test("by the dispatcher's error carries its code, and nothing is said after it", async () => {
    const session = await opened();
    PlayedSocket.newest.say({ type: "error", code: "bad_signature", detail: "that was bad" });
    const { error } = await drained(session);
    expect(error).toMatchObject({ code: "bad_signature", message: expect.stringContaining("that was bad") });
    session.send({ type: "ping", time_ms: 1 });
    await session.sendResult(new Uint8Array(10));
    expect(PlayedSocket.newest.sent).toHaveLength(1);
  });

  test("by more than can be taken in", async () => {
    const session = await opened();
    for (let number = 0; number <= 20_000; number += 1) PlayedSocket.newest.say({ type: "pong", time_ms: number });
    const { frames, error } = await drained(session);
    expect(frames).toBe(0);
    expect(error).toBeInstanceOf(DispatcherRefused);
    expect(PlayedSocket.newest.readyState).toBe(2);
  });

  test("by bytes that cannot be taken in", async () => {
    const session = await opened();
    for (let number = 0; number < 5; number += 1) PlayedSocket.newest.say(new ArrayBuffer(5_000_000));
    expect((await drained(session)).error).toBeInstanceOf(DispatcherRefused);
  });
});

describe("leaving", () => {
  test("before the connection stands, nothing is said to it", async () => {
    const opening = expect(WebSocketSession.open(options())).rejects.toThrow();
    leaving.abort();
    const socket = PlayedSocket.newest;
    expect(socket.readyState).toBe(2);
    socket.fall();
    await opening;
    expect(socket.sent).toEqual([]);
  });

  test("while the hello is signed, no hello is sent", async () => {
    let finish = (): void => undefined;
    const slow: Signer = {
      public_key: signer.public_key,
      sign: async (bytes) => {
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        return await signer.sign(bytes);
      },
    };
    let isGreeting = false;
    const { helloFor } = options();
    const greeting: SessionOptions["helloFor"] = (challenge) => {
      isGreeting = true;
      return helloFor(challenge);
    };
    const opening = expect(WebSocketSession.open(options({ signer: slow, helloFor: greeting }))).rejects.toThrow();
    const socket = PlayedSocket.newest;
    socket.stand();
    socket.say(await challengeBy(root));
    await until(() => isGreeting);
    await settle();
    leaving.abort();
    finish();
    await opening;
    expect(socket.sent).toEqual([]);
  });

  test("before it begins, nothing is dialled", async () => {
    leaving.abort();
    await expect(WebSocketSession.open(options())).rejects.toThrow();
    expect(PlayedSocket.made).toEqual([]);
  });

  test("a session that stands ends it", async () => {
    const ended = drained(await opened());
    leaving.abort();
    expect(await ended).toEqual({ frames: 0, error: null });
    await vi.advanceTimersByTimeAsync(100_000);
    expect(PlayedSocket.newest.messages()).toEqual([]);
  });
});

describe("a result", () => {
  test("waits until the frames before it have mostly left", async () => {
    const session = await opened();
    PlayedSocket.newest.bufferedAmount = 20_000_000;
    const sending = session.sendResult(new Uint8Array(10));
    await vi.advanceTimersByTimeAsync(500);
    expect(PlayedSocket.newest.sent).toHaveLength(1);
    PlayedSocket.newest.bufferedAmount = 0;
    await vi.advanceTimersByTimeAsync(50);
    await sending;
    expect(PlayedSocket.newest.sent).toHaveLength(2);
  });

  test("stops waiting where the connection is gone", async () => {
    const session = await opened();
    PlayedSocket.newest.bufferedAmount = 20_000_000;
    const sending = session.sendResult(new Uint8Array(10));
    PlayedSocket.newest.fall();
    await vi.advanceTimersByTimeAsync(50);
    await sending;
    expect(PlayedSocket.newest.sent).toHaveLength(1);
  });
});

test("the root key that is remembered is the only one", async () => {
  const opening = WebSocketSession.open(options({ root_key: signer.public_key }));
  const socket = PlayedSocket.newest;
  socket.stand();
  socket.say(await challengeBy(root));
  await expect(opening).rejects.toMatchObject({
    name: "DispatcherUntrusted",
    message: `the root key of ${AUDIENCE} is ${root.public_key}, but this browser trusts ${signer.public_key}`,
  });
  expect(socket.messages()).toMatchObject([{ type: "error", code: "not_for_me" }]);
  expect(socket.sent).toHaveLength(1);
});
