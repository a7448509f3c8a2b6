/**
 * The answers on their way to the dispatcher: sent once in every session, the oldest first and byte for byte, until they
 * are acknowledged (PROTOCOL.md, section 6.6).
 *
 * Outlives sessions, not the worker: what waits is in the store. Whatever reads or writes there rejects with its
 * DOMException.
 */
import { isFull, type LeaseKey, type OutboxItem } from "../node/outbox.ts";
import type { FromNode } from "../protocol/messages.ts";
import type { Ack, Failure, Refuse } from "../protocol/types.ts";
import { Word } from "./deadline.ts";
import type { IndexedDbStore } from "./indexeddb_store.ts";

/** Upon a result with one of these a dispatcher ends the session: it would end the next one too. */
const FATAL_CODES: ReadonlySet<string> = new Set(["malformed_message", "not_canonical", "wrong_kind", "bad_signature"]);
/** How long a result waits for its acknowledgement where the next one is sent after it only. */
const ONE_BY_ONE_MS = 30_000;
const SETTLE_LOOK_MS = 100;

/** An open session, to send answers in. Sending into a broken one has no effect: the session's end shows elsewhere. */
export interface Link {
  send(message: FromNode): void;
  sendResult(frame: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** A result that was sent in this session. `settled` is said when it is acknowledged, or the session over. */
interface SentResult {
  readonly lease: LeaseKey;
  readonly settled: Word<true>;
}

/** Sends answers. Owned by the jobs of one worker. */
export class AnswerDelivery {
  private link: Link | null = null;
  /** While what waits is sent again, an answer that comes to it is not sent by itself: it is read in its turn. */
  private isCatchingUp = false;
  /** A result ended a session and it is not known which: until they are through, each waits for the one before. */
  private isOneByOne = false;
  private readonly unsettled = new Map<string, SentResult>();
  private waitingBytes = 0;

  constructor(private readonly store: IndexedDbStore) {}

  /** Whether another result might not find room. */
  get isFull(): boolean {
    return isFull(this.waitingBytes);
  }

  /** Take note of how much waits. */
  async recount(): Promise<void> {
    this.waitingBytes = await this.store.waitingBytes();
  }

  /** Say something that nobody waits to hear acknowledged; nothing happens without a session. */
  say(message: FromNode): void {
    this.link?.send(message);
  }

  /** Send answers in this session from now on, and what waits already. */
  async sessionOpened(link: Link): Promise<void> {
    this.link = link;
    this.isCatchingUp = true;
    try {
      await this.catchUp(link);
    } finally {
      if (this.link === link) this.isCatchingUp = false;
    }
  }

  /** Take note that a session is over. */
  sessionEnded(link: Link): void {
    if (this.link !== link) return;
    this.link = null;
    this.isCatchingUp = false;
    for (const { settled } of this.unsettled.values()) settled.say(true);
    this.unsettled.clear();
  }

  /**
   * Take note of the error by which the dispatcher ends the session; to be called before `sessionEnded`. A result upon
   * which it did so is not sent again; where several may be to blame, the next session finds out which.
   */
  async sessionRefused(code: string, words: string): Promise<void> {
    if (!FATAL_CODES.has(code)) return;
    const [suspect, ...others] = [...this.unsettled.values()];
    if (suspect === undefined) return;
    if (others.length > 0) {
      this.isOneByOne = true;
      return;
    }
    const verdict = { outcome: "rejected", reason: words, reward: 0, log_index: null } as const;
    await this.store.acknowledged({ type: "ack", ...suspect.lease, ...verdict });
    await this.recount();
  }

  /** Send a refusal or failure that was just kept. */
  sendNote(note: Refuse | Failure): void {
    if (!this.isCatchingUp) this.link?.send(note);
  }

  /** Send a result that was just kept. */
  async sendResult(lease: LeaseKey, frame: Uint8Array<ArrayBuffer>): Promise<void> {
    this.waitingBytes += frame.length;
    if (!this.isCatchingUp) await this.put(lease, frame);
  }

  /** Send an answer once more. */
  async repeat(item: OutboxItem): Promise<void> {
    if (item.kind === "note") {
      this.link?.send(item.message);
      return;
    }
    const frame = await this.store.frame(item.place);
    if (frame !== null) await this.put(item, frame);
  }

  /** Forget what was acknowledged; false where nothing waited for that. */
  async acknowledged(ack: Ack): Promise<boolean> {
    this.settle(ack);
    const entry = await this.store.acknowledged(ack);
    if (entry !== null) await this.recount();
    return entry !== null;
  }

  /** Forget what was cancelled. */
  async cancelled(lease: LeaseKey): Promise<void> {
    this.settle(lease);
    await this.store.cancelled(lease);
    await this.recount();
  }

  /** Wait until every answer is acknowledged, the session is over, or `ms` have passed. */
  async settled(ms: number): Promise<void> {
    const deadline = Date.now() + ms;
    while (this.link !== null && Date.now() < deadline && (await this.store.waiting()).length > 0) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_LOOK_MS));
    }
  }

  /** Returns in the very turn in which it read that nothing is left, so no answer falls between it and `isCatchingUp`. */
  private async catchUp(link: Link): Promise<void> {
    let last = 0;
    for (;;) {
      const items = (await this.store.waiting()).filter((item) => item.place > last);
      if (this.link !== link) return;
      if (items.length === 0) break;
      for (const item of items) {
        last = item.place;
        await this.repeat(item);
        if (this.isOneByOne) await this.unsettled.get(nameOf(item))?.settled.within(ONE_BY_ONE_MS);
        if (this.link !== link) return;
      }
    }
    this.isOneByOne = false;
  }

  private async put({ job_id, lease }: LeaseKey, frame: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.link === null) return;
    this.unsettled.set(nameOf({ job_id, lease }), { lease: { job_id, lease }, settled: new Word() });
    await this.link.sendResult(frame);
  }

  private settle(lease: LeaseKey): void {
    this.unsettled.get(nameOf(lease))?.settled.say(true);
    this.unsettled.delete(nameOf(lease));
  }
}

/** One lease of one job, as a key of a map. */
export function nameOf({ job_id, lease }: LeaseKey): string {
  return `${job_id}/${lease}`;
}
