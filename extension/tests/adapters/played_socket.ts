/** One end of a WebSocket in memory, and the dispatcher at its other end. */
import { toBase64url } from "../../src/protocol/base64url.ts";
import type { Signer } from "../../src/protocol/keys.ts";
import { sign, toBytes } from "../../src/protocol/statements.ts";

export const AUDIENCE = "ws://127.0.0.1:8787";

/** Stands in for the browser's WebSocket. Its peer never answers a close: only `fall` ends it. */
export class PlayedSocket extends EventTarget {
  static readonly OPEN = 1;
  static readonly made: PlayedSocket[] = [];
  readonly sent: (string | Uint8Array)[] = [];
  binaryType = "blob";
  bufferedAmount = 0;
  readyState = 0;

  constructor(readonly url: string) {
    super();
    PlayedSocket.made.push(this);
  }

  /** The newest one. */
  static get newest(): PlayedSocket {
    const socket = PlayedSocket.made.at(-1);
    if (socket === undefined) throw new Error("nothing was dialled");
    return socket;
  }

  send(data: string | Uint8Array): void {
    if (this.readyState === 0) throw new DOMException("not open yet", "InvalidStateError");
    if (this.readyState === PlayedSocket.OPEN) this.sent.push(data);
  }

  close(): void {
    if (this.readyState < 2) this.readyState = 2;
  }

  /** The connection stands. */
  stand(): void {
    this.readyState = PlayedSocket.OPEN;
    this.dispatchEvent(new Event("open"));
  }

  /** A frame comes. */
  say(frame: object | ArrayBuffer): void {
    const data = frame instanceof ArrayBuffer ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** The connection is gone. */
  fall(): void {
    this.readyState = 3;
    this.dispatchEvent(new Event("close"));
  }

  /** The text messages that were sent. */
  messages(): { type: string; [member: string]: unknown }[] {
    return this.sent.filter((data) => typeof data === "string").map((data) => JSON.parse(data));
  }
}

/** A challenge that holds now, of a certificate that runs out in `lasts_ms`. */
export async function challengeBy(root: Signer, { lasts_ms = 3_600_000 } = {}): Promise<object> {
  const now_ms = Date.now();
  const certificate = await sign(
    "certificate",
    {
      v: 1,
      root_key: root.public_key,
      job_key: root.public_key,
      serial: 1,
      not_before_ms: now_ms - 1_000,
      not_after_ms: now_ms + lasts_ms,
    },
    root,
  );
  return {
    type: "challenge",
    v: 1,
    nonce: toBase64url(new Uint8Array(32)),
    audience: AUDIENCE,
    time_ms: now_ms,
    expires_ms: now_ms + 30_000,
    certificate: toBase64url(toBytes(certificate)),
  };
}

/** A welcome that asks for pings at such an interval. */
export function welcomeWith(ping_interval_ms: number): object {
  const session_id = "01a3185c-5000-7000-8000-000000000001";
  return { type: "welcome", session_id, ping_interval_ms, time_ms: Date.now() };
}
