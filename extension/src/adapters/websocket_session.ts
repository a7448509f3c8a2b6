/** One session with a dispatcher over a WebSocket: the handshake, then frames both ways (PROTOCOL.md, sections 5, 6). */
import type { DispatcherUrl } from "../node/dispatcher_url.ts";
import {
  type DispatcherError,
  DispatcherNewer,
  DispatcherRefused,
  DispatcherUnreachable,
  DispatcherUntrusted,
} from "../node/errors.ts";
import { MalformedMessage, NotForMe, ProtocolError, SessionViolation, UnsupportedVersion } from "../protocol/errors.ts";
import type { Signer } from "../protocol/keys.ts";
import { LIMITS } from "../protocol/limits.ts";
import { decodeFromDispatcher, encodeMessage, type FromDispatcher, type FromNode } from "../protocol/messages.ts";
import { answerChallenge, openChallenge, Session } from "../protocol/session.ts";
import { parse, type Statement, toBytes } from "../protocol/statements.ts";
import type { Certificate, Challenge, Hello, SessionError, Welcome } from "../protocol/types.ts";

const HANDSHAKE_MS = 15_000;
const SHORTEST_PING_MS = 1_000;
const DETAIL_CHARACTERS = 300;
const CODE_CHARACTERS = 100;
/** What a dispatcher may send ahead of what is taken: frames, and their bytes. */
const MOST_FRAMES_WAITING = 20_000;
const MOST_BYTES_WAITING = 4 * LIMITS.BINARY_FRAME_BYTES;
const MOST_BUFFERED_BYTES = 2 * LIMITS.BINARY_FRAME_BYTES;
const BUFFER_LOOK_MS = 50;

type Frame = string | ArrayBuffer;

/**
 * Everything needed to open a session. Where `signal` is aborted, at whatever stage, the session closes and says nothing
 * more. `awake` is called beside every ping, so that the browser keeps the worker.
 */
export interface SessionOptions {
  readonly dispatcher: DispatcherUrl;
  readonly root_key: string | null;
  readonly signer: Signer;
  readonly helloFor: (challenge: Challenge) => Hello;
  readonly awake: () => void;
  readonly signal: AbortSignal;
}

/** Frames as they arrive, in order. Owned by one session. */
class Inbox {
  private frames: Frame[] = [];
  private bytes = 0;
  private isEnded = false;
  private isFlooded = false;
  private wake = (): void => undefined;

  constructor(private readonly socket: WebSocket) {
    socket.addEventListener("message", (event: MessageEvent<Frame>) => this.put(event.data));
    socket.addEventListener("close", () => this.end());
    socket.addEventListener("error", () => this.end());
  }

  /** The next frame, null where the connection ended; DispatcherUnreachable after `silence_ms` without one. */
  async next(silence_ms: number): Promise<Frame | null> {
    const deadline = Date.now() + silence_ms;
    while (this.frames.length === 0 && !this.isEnded) {
      const left_ms = deadline - Date.now();
      if (left_ms <= 0) {
        this.close();
        throw new DispatcherUnreachable(`nothing was heard of the dispatcher for ${silence_ms} ms`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left_ms);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (this.isFlooded) throw new DispatcherRefused("the dispatcher sends more than this browser takes in");
    const frame = this.frames.shift() ?? null;
    if (frame !== null) this.bytes -= sizeOf(frame);
    return frame;
  }

  /** Close the connection; what came and was not taken is dropped. */
  close(): void {
    this.frames = [];
    this.end();
    this.socket.close();
  }

  private put(frame: Frame): void {
    if (this.isEnded) return;
    this.frames.push(frame);
    this.bytes += sizeOf(frame);
    this.isFlooded = this.frames.length > MOST_FRAMES_WAITING || this.bytes > MOST_BYTES_WAITING;
    if (this.isFlooded) this.close();
    else this.wake();
  }

  private end(): void {
    this.isEnded = true;
    this.wake();
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
    options.signal.throwIfAborted();
    const socket = new WebSocket(options.dispatcher.url);
    socket.binaryType = "arraybuffer";
    const inbox = new Inbox(socket);
    const state = new Session();
    options.signal.addEventListener("abort", () => inbox.close(), { once: true });
    try {
      await opened(socket, options.dispatcher);
      const challenge = await expect(inbox, state, "challenge");
      const certificate = await certificateOf(challenge, options);
      const hello = await answerChallenge(challenge, options.helloFor(challenge), options.signer);
      state.on("node", "hello");
      socket.send(toBytes(hello));
      const welcome = await expect(inbox, state, "welcome");
      const session = new WebSocketSession(socket, inbox, state, certificate, welcome);
      session.keepAlive(options.awake);
      return session;
    } catch (error) {
      if (error instanceof ProtocolError) tell(socket, state, error);
      inbox.close();
      throw error instanceof ProtocolError ? explained(error, options.dispatcher) : error;
    }
  }

  /** Send a message; nothing happens where the connection is gone, which shows in `frames`. */
  send(message: FromNode): void {
    if (!this.isOpen) return;
    this.state.on("node", message.type);
    this.socket.send(encodeMessage(message));
  }

  /** Send a record statement with its body, once the frames before it have mostly left. */
  async sendResult(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    while (this.isOpen && this.socket.bufferedAmount > MOST_BUFFERED_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, BUFFER_LOOK_MS));
    }
    if (!this.isOpen) return;
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
    tell(this.socket, this.state, error);
    this.close();
    return new DispatcherRefused(`the dispatcher sent what the protocol does not admit: ${error.message}`);
  }

  /** Close the connection: `frames` ends at once, also where the dispatcher does not answer the close. */
  close(): void {
    clearInterval(this.timer);
    this.inbox.close();
  }

  private get isOpen(): boolean {
    return isOpen(this.socket, this.state);
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
      if (!this.isOpen || Date.now() >= this.certificate.not_after_ms) return this.close();
      awake();
      this.send({ type: "ping", time_ms: Date.now() });
    }, interval_ms);
  }
}

/** Resolves when the connection stands. DispatcherUnreachable where none comes. */
async function opened(socket: WebSocket, { audience }: DispatcherUrl): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const late = `${audience} does not answer within ${HANDSHAKE_MS} ms`;
    const timer = setTimeout(() => reject(new DispatcherUnreachable(late)), HANDSHAKE_MS);
    const stand = () => {
      clearTimeout(timer);
      resolve();
    };
    const fall = () => {
      clearTimeout(timer);
      reject(new DispatcherUnreachable(`no connection to ${audience}`));
    };
    socket.addEventListener("open", stand, { once: true });
    socket.addEventListener("error", fall, { once: true });
    socket.addEventListener("close", fall, { once: true });
  });
}

/** An `error` of either side is the last message of a session, though its connection still stands for a moment. */
function isOpen(socket: WebSocket, state: Session): boolean {
  return socket.readyState === WebSocket.OPEN && state.state !== "closed";
}

/** Tell the dispatcher what it sent wrong (PROTOCOL.md, section 6.7); nothing may be said afterwards. */
function tell(socket: WebSocket, state: Session, error: ProtocolError): void {
  if (!isOpen(socket, state)) return;
  state.on("node", "error");
  const detail = error.message.slice(0, DETAIL_CHARACTERS);
  socket.send(encodeMessage({ type: "error", code: error.code, detail }));
}

/** A challenge that holds, but for the root that certifies it. */
class OtherRoot extends NotForMe {}

/** The certificate of a challenge that holds. OtherRoot where it is not of the root that this browser remembers. */
async function certificateOf(challenge: Challenge, { dispatcher, root_key }: SessionOptions): Promise<Certificate> {
  const { audience } = dispatcher;
  const certificate = await openChallenge(challenge, { audience, root_key: null, now_ms: Date.now() });
  if (root_key === null || certificate.root_key === root_key) return certificate;
  throw new OtherRoot(`the root key of ${audience} is ${certificate.root_key}, but this browser trusts ${root_key}`);
}

/** Why no session was opened, by what the owner has to do about it. */
function explained(error: ProtocolError, { audience }: DispatcherUrl): DispatcherError {
  if (error instanceof OtherRoot) return new DispatcherUntrusted(error.message);
  if (error instanceof UnsupportedVersion) return new DispatcherNewer(error.message);
  if (error instanceof NotForMe) return new DispatcherRefused(`${error.message}; give the dispatcher's own address`);
  return new DispatcherRefused(`the handshake with ${audience} does not hold: ${error.message}`);
}

interface Expected {
  readonly challenge: Challenge;
  readonly welcome: Welcome;
}

/** The message that must come next. ProtocolError for another, DispatcherError where the dispatcher ended the session. */
async function expect<Name extends keyof Expected>(inbox: Inbox, state: Session, name: Name): Promise<Expected[Name]> {
  const frame = await inbox.next(HANDSHAKE_MS);
  if (frame === null) throw new DispatcherUnreachable(`the dispatcher closed the connection instead of a ${name}`);
  if (typeof frame !== "string") throw new MalformedMessage(`expected a ${name}`);
  const message = decodeFromDispatcher(frame);
  state.on("dispatcher", message.type);
  if (message.type === "error") throw refused(message);
  if (message.type === name) return message as Expected[Name];
  throw new SessionViolation(`expected a ${name} of the dispatcher`);
}

function refused(message: SessionError): DispatcherError {
  const detail = message.detail === "" ? "" : `: ${message.detail.slice(0, DETAIL_CHARACTERS)}`;
  if (message.code === "unsupported_version") return new DispatcherNewer(`the dispatcher asks for an update${detail}`);
  const code = message.code.slice(0, CODE_CHARACTERS);
  return new DispatcherRefused(`the dispatcher ended the session, ${code}${detail}`, code);
}

function sizeOf(frame: Frame): number {
  return typeof frame === "string" ? frame.length : frame.byteLength;
}
