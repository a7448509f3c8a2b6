/** One session with a dispatcher over a WebSocket: the handshake, then frames both ways (PROTOCOL.md, sections 5, 6). */
import type { DispatcherUrl } from "../node/dispatcher_url.ts";
import {
  type DispatcherError,
  DispatcherNewer,
  DispatcherRefused,
  DispatcherUnreachable,
  DispatcherUntrusted,
} from "../node/errors.ts";
import { MalformedMessage, NotForMe, ProtocolError, UnsupportedVersion } from "../protocol/errors.ts";
import type { Signer } from "../protocol/keys.ts";
import { LIMITS } from "../protocol/limits.ts";
import { decodeFromDispatcher, encodeMessage, type FromDispatcher, type FromNode } from "../protocol/messages.ts";
import { answerChallenge, openChallenge, Session } from "../protocol/session.ts";
import { parse, type Statement, toBytes } from "../protocol/statements.ts";
import type { Certificate, Challenge, Hello, SessionError, Welcome } from "../protocol/types.ts";

const HANDSHAKE_MS = 15_000;
const SHORTEST_PING_MS = 1_000;
const DETAIL_CHARACTERS = 300;
const MOST_FRAMES_WAITING = 1_000;
const MOST_BUFFERED_BYTES = 2 * LIMITS.BINARY_FRAME_BYTES;
const BUFFER_LOOK_MS = 50;

type Frame = string | ArrayBuffer;

/** Everything needed to open a session. `awake` is called beside every ping, so that the browser keeps the worker. */
export interface SessionOptions {
  readonly dispatcher: DispatcherUrl;
  readonly root_key: string | null;
  readonly signer: Signer;
  readonly helloFor: (challenge: Challenge) => Hello;
  readonly awake: () => void;
}

/** Frames as they arrive, in order; null is the end. Owned by one session. */
class Inbox {
  private readonly frames: (Frame | null)[] = [];
  private wake: (() => void) | null = null;

  constructor(private readonly socket: WebSocket) {
    socket.addEventListener("message", (event: MessageEvent<Frame>) => this.put(event.data));
    socket.addEventListener("close", () => this.put(null));
    socket.addEventListener("error", () => this.put(null));
  }

  /** The next frame, null where the connection ended; DispatcherUnreachable after `silence_ms` without one. */
  async next(silence_ms: number): Promise<Frame | null> {
    const deadline = Date.now() + silence_ms;
    while (this.frames.length === 0) {
      const left_ms = deadline - Date.now();
      if (left_ms <= 0) {
        this.socket.close();
        throw new DispatcherUnreachable(`nothing was heard of the dispatcher for ${silence_ms} ms`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left_ms);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.wake = null;
    }
    return this.frames.shift() ?? null;
  }

  private put(frame: Frame | null): void {
    if (this.frames.length >= MOST_FRAMES_WAITING) this.socket.close();
    else this.frames.push(frame);
    this.wake?.();
  }
}

/** An open session. `certificate` names the key that signs its jobs. */
export class WebSocketSession {
  private timer: ReturnType<typeof setInterval> | undefined;

  private constructor(
    private readonly socket: WebSocket,
    private readonly inbox: Inbox,
    private readonly state: Session,
    readonly certificate: Certificate,
    readonly welcome: Welcome,
  ) {}

  /** Dial, prove this node's key, and return when the dispatcher welcomes it; DispatcherError otherwise. */
  static async open(options: SessionOptions): Promise<WebSocketSession> {
    const socket = await dial(options.dispatcher);
    const state = new Session();
    try {
      const inbox = new Inbox(socket);
      const challenge = await expect(inbox, state, "challenge");
      const certificate = await check(challenge, options);
      const hello = await answerChallenge(challenge, options.helloFor(challenge), options.signer);
      state.on("node", "hello");
      socket.send(toBytes(hello));
      const welcome = await expect(inbox, state, "welcome");
      const session = new WebSocketSession(socket, inbox, state, certificate, welcome);
      session.keepAlive(options.awake);
      return session;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** Send a message; nothing happens where the connection is gone, which shows in `frames`. */
  send(message: FromNode): void {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.state.on("node", message.type);
    this.socket.send(encodeMessage(message));
  }

  /** Send a record statement with its body, once the frames before it have mostly left. */
  async sendResult(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    while (this.socket.readyState === WebSocket.OPEN && this.socket.bufferedAmount > MOST_BUFFERED_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, BUFFER_LOOK_MS));
    }
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.state.on("node", "record");
    this.socket.send(frame);
  }

  /**
   * What the dispatcher sends, in order, a job as its unverified statement, until either side closes. Throws
   * DispatcherUnreachable after silence, DispatcherRefused after an error of the dispatcher.
   */
  async *frames(): AsyncGenerator<FromDispatcher | Statement> {
    for (;;) {
      const frame = await this.inbox.next(LIMITS.SILENCE_LIMIT_MS);
      if (frame === null) return;
      yield this.decoded(frame);
    }
  }

  /** Tell the dispatcher what it sent wrong and close; returns the error to throw. */
  fail(error: ProtocolError): DispatcherRefused {
    this.send({ type: "error", code: error.code, detail: error.message.slice(0, DETAIL_CHARACTERS) });
    this.close();
    return new DispatcherRefused(`the dispatcher sent what the protocol does not admit: ${error.message}`);
  }

  /** Close the connection. */
  close(): void {
    clearInterval(this.timer);
    this.socket.close();
  }

  private decoded(frame: Frame): FromDispatcher | Statement {
    try {
      if (typeof frame !== "string") {
        const statement = parse(new Uint8Array(frame));
        if (statement.kind !== "job") throw new MalformedMessage(`a dispatcher sends no ${statement.kind}`);
        this.state.on("dispatcher", "job");
        return statement;
      }
      const message = decodeFromDispatcher(frame);
      this.state.on("dispatcher", message.type);
      if (message.type === "error") throw refused(message);
      return message;
    } catch (error) {
      if (error instanceof ProtocolError) throw this.fail(error);
      throw error;
    }
  }

  /** Ping until the job key's certificate runs out; then close, for a new session brings the next one. */
  private keepAlive(awake: () => void): void {
    const interval_ms = Math.max(SHORTEST_PING_MS, Math.min(this.welcome.ping_interval_ms, LIMITS.PING_INTERVAL_MS));
    this.timer = setInterval(() => {
      awake();
      if (this.socket.readyState !== WebSocket.OPEN) clearInterval(this.timer);
      else if (Date.now() >= this.certificate.not_after_ms) this.close();
      else this.send({ type: "ping", time_ms: Date.now() });
    }, interval_ms);
  }
}

async function dial(dispatcher: DispatcherUrl): Promise<WebSocket> {
  const socket = new WebSocket(dispatcher.url);
  socket.binaryType = "arraybuffer";
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.close();
      reject(new DispatcherUnreachable(`${dispatcher.audience} does not answer within ${HANDSHAKE_MS} ms`));
    }, HANDSHAKE_MS);
    const opened = () => {
      clearTimeout(timer);
      resolve();
    };
    const failed = () => {
      clearTimeout(timer);
      reject(new DispatcherUnreachable(`no connection to ${dispatcher.audience}`));
    };
    socket.addEventListener("open", opened, { once: true });
    socket.addEventListener("error", failed, { once: true });
    socket.addEventListener("close", failed, { once: true });
  });
  return socket;
}

async function check(challenge: Challenge, options: SessionOptions): Promise<Certificate> {
  const { dispatcher, root_key } = options;
  const certificate = await holding(challenge, dispatcher);
  if (root_key !== null && certificate.root_key !== root_key) {
    throw new DispatcherUntrusted(
      `the root key of ${dispatcher.audience} is ${certificate.root_key}, but this browser trusts ${root_key}`,
    );
  }
  return certificate;
}

async function holding(challenge: Challenge, dispatcher: DispatcherUrl): Promise<Certificate> {
  try {
    return await openChallenge(challenge, { audience: dispatcher.audience, root_key: null, now_ms: Date.now() });
  } catch (error) {
    if (error instanceof UnsupportedVersion) throw new DispatcherNewer(error.message);
    if (error instanceof NotForMe) throw new DispatcherRefused(`${error.message}; give the dispatcher's own address`);
    if (error instanceof ProtocolError) {
      throw new DispatcherRefused(`the challenge of ${dispatcher.audience} does not hold: ${error.message}`);
    }
    throw error;
  }
}

interface Expected {
  readonly challenge: Challenge;
  readonly welcome: Welcome;
}

async function expect<Name extends keyof Expected>(inbox: Inbox, state: Session, name: Name): Promise<Expected[Name]> {
  const frame = await inbox.next(HANDSHAKE_MS);
  if (frame === null) throw new DispatcherUnreachable(`the dispatcher closed the connection instead of a ${name}`);
  try {
    if (typeof frame !== "string") throw new MalformedMessage(`expected a ${name}`);
    const message = decodeFromDispatcher(frame);
    state.on("dispatcher", message.type);
    if (message.type === "error") throw refused(message);
    if (message.type === name) return message as Expected[Name];
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new DispatcherRefused(`the dispatcher sent what the protocol does not admit: ${error.message}`);
  }
  throw new DispatcherRefused(`expected a ${name} of the dispatcher`);
}

function refused(message: SessionError): DispatcherError {
  const detail = message.detail === "" ? "" : `: ${message.detail.slice(0, DETAIL_CHARACTERS)}`;
  if (message.code === "unsupported_version") return new DispatcherNewer(`the dispatcher asks for an update${detail}`);
  return new DispatcherRefused(`the dispatcher ended the session, ${message.code.slice(0, 100)}${detail}`);
}
