/**
 * The node's memory in IndexedDB: its keys, the log, the answers that wait for their acknowledgement, sums by the hour.
 *
 * Every method that writes is one transaction: it applies as a whole or not at all, so the worker may die at any await.
 * Every method rejects with a DOMException where the browser cannot read or write; what it would have changed then
 * stands as before.
 */
import {
  type HourTotals,
  JOURNAL_CHANNEL,
  type LogEntry,
  MOST_ENTRIES,
  type Outcome,
  type UsageToday,
} from "../node/journal.ts";
import type { LeaseKey, OutboxItem } from "../node/outbox.ts";
import type { Ack, Failure, Refuse } from "../protocol/types.ts";
import { answered, type Durability, deleteDatabase, IndexedDbDatabase, type StoreName } from "./indexeddb_database.ts";
import {
  addToHour,
  isBehind,
  type LogPiece,
  type LogPlace,
  pruneEntries,
  readEntry,
  readPiece,
  searchedFor,
  sumDay,
} from "./indexeddb_journal.ts";
import { addNote, addResult, dropWaiting, everythingWaiting, waitingUnder } from "./indexeddb_outbox.ts";

export type { OutboxItem } from "../node/outbox.ts";
export type { LogPlace } from "./indexeddb_journal.ts";

const DETAIL_CHARACTERS = 500;
/** How many entries one transaction looks at: writers wait no longer than it takes. */
const ENTRIES_AT_ONCE = 1_000;

/** A part of the log. `before`: the place of the last entry already read. `search`: words, as for `searchedFor`. */
export interface LogQuery {
  readonly before?: LogPlace | undefined;
  readonly limit: number;
  readonly search?: string | undefined;
}

/** What a cancelled fetch had taken by then. */
export interface Taken {
  readonly finished_ms: number;
  readonly received_bytes: number;
  readonly sent_bytes: number;
}

export class IndexedDbStore {
  private readonly channel = new BroadcastChannel(JOURNAL_CHANNEL);
  private isClosed = false;

  private constructor(private readonly database: IndexedDbDatabase) {}

  /** Open the store, and create it where there is none. */
  static async open(): Promise<IndexedDbStore> {
    const database = new IndexedDbDatabase();
    await database.connected();
    return new IndexedDbStore(database);
  }

  /** Forget everything: close every open store, in whatever page or worker, and delete the database. */
  static async erase(): Promise<void> {
    await deleteDatabase();
  }

  /** Close. What is under way still ends by itself; later calls are rejected. */
  close(): void {
    this.isClosed = true;
    this.channel.close();
    this.database.close();
  }

  // --- keys ----------------------------------------------------------------------------------------------------------

  /** The key kept under a name, undefined where there is none. */
  key(name: string): Promise<unknown> {
    return this.database.read(["keys"], (transaction) => answered(transaction.objectStore("keys").get(name)));
  }

  /** Keep a key under a name, unless one is kept there already; return the one that is kept now. */
  keepKey(name: string, fresh: CryptoKeyPair): Promise<unknown> {
    return this.database.write(["keys"], "strict", async (transaction) => {
      const keys = transaction.objectStore("keys");
      if ((await answered(keys.getKey(name))) === undefined) await answered(keys.add(fresh, name));
      return await answered(keys.get(name));
    });
  }

  // --- from a job to its answer --------------------------------------------------------------------------------------

  /** Write down that a URL is about to be fetched. ConstraintError where the lease is in the log already. */
  begin(entry: LogEntry): Promise<void> {
    return this.change(["journal", "hours"], "relaxed", async (transaction) => {
      await answered(transaction.objectStore("journal").add({ ...entry, outcome: "fetching" } satisfies LogEntry));
      await addToHour(transaction, entry.started_ms, { jobs: 1 });
    });
  }

  /**
   * Write down a page, and keep its frame until it is acknowledged. False, and nothing is changed, where the lease is no
   * longer being fetched: it was cancelled, handed back, or erased, and the frame must not be sent.
   */
  concludeResult(entry: LogEntry, frame: Uint8Array<ArrayBuffer>): Promise<boolean> {
    return this.conclude({ ...entry, outcome: "sent" }, (transaction) => addResult(transaction, entry, frame));
  }

  /**
   * Write down a fetch that brought no page, and keep its answer until it is acknowledged; outcome, reason and detail
   * are the message's. False as for `concludeResult`.
   */
  concludeNote(entry: LogEntry, message: Refuse | Failure): Promise<boolean> {
    return this.conclude(endedBy(entry, message), (transaction) => addNote(transaction, message));
  }

  /**
   * Write down a URL that is not fetched, and keep the refusal until it is acknowledged. False, and nothing is changed,
   * where the lease is in the log already.
   */
  refused(entry: LogEntry, message: Refuse): Promise<boolean> {
    return this.change(["journal", "outbox"], "strict", async (transaction) => {
      if ((await readEntry(transaction, entry)) !== null) return false;
      await answered(transaction.objectStore("journal").add(endedBy(entry, message)));
      await addNote(transaction, message);
      return true;
    });
  }

  /**
   * Forget an answer that was acknowledged and write down what became of it. Returns its entry as it stands now; null,
   * and nothing is changed, where no answer waits under that key.
   */
  acknowledged(ack: Ack): Promise<LogEntry | null> {
    return this.change(["journal", "outbox", "frames", "hours"], "strict", async (transaction) => {
      const item = await waitingUnder(transaction, ack);
      if (item === null) return null;
      await dropWaiting(transaction, item);
      const entry = await readEntry(transaction, ack);
      if (entry === null || item.kind === "note") return entry;
      const after: LogEntry = {
        ...entry,
        outcome: ack.outcome,
        reason: ack.outcome,
        detail: ack.reason.slice(0, DETAIL_CHARACTERS),
        reward: ack.reward,
        log_index: ack.log_index,
      };
      const isStored = ack.outcome === "stored" || ack.outcome === "duplicate";
      await answered(transaction.objectStore("journal").put(after));
      await addToHour(transaction, entry.started_ms, { stored: isStored ? 1 : 0, reward: ack.reward });
      return after;
    });
  }

  /** Stop waiting for an answer's acknowledgement, and write down that a page under way or sent was cancelled. */
  cancelled(key: LeaseKey, taken?: Taken): Promise<void> {
    return this.change(["journal", "outbox", "frames", "hours"], "strict", async (transaction) => {
      const item = await waitingUnder(transaction, key);
      if (item !== null) await dropWaiting(transaction, item);
      const entry = await readEntry(transaction, key);
      if (entry === null || (entry.outcome !== "fetching" && entry.outcome !== "sent")) return;
      const after: LogEntry = { ...entry, ...taken, outcome: "cancelled" };
      await answered(transaction.objectStore("journal").put(after));
      await addToHour(transaction, entry.started_ms, bytesSince(entry, after));
    });
  }

  /**
   * Hand back every fetch that an earlier worker left in the middle: `interrupted` in the log, and a refusal `stopping`
   * that waits. Returns the entries as they stand now.
   */
  interruptUnfinished(detail: string): Promise<LogEntry[]> {
    return this.change(["journal", "outbox"], "strict", async (transaction) => {
      const journal = transaction.objectStore("journal");
      const unfinished: LogEntry[] = await answered(journal.index("outcome").getAll("fetching" satisfies Outcome));
      const after: LogEntry[] = [];
      for (const entry of unfinished) {
        const { job_id, lease } = entry;
        const interrupted: LogEntry = { ...entry, outcome: "interrupted", reason: "stopping", detail };
        await answered(journal.put(interrupted));
        await addNote(transaction, { type: "refuse", job_id, lease, reason: "stopping", detail });
        after.push(interrupted);
      }
      return after;
    });
  }

  // --- what waits ----------------------------------------------------------------------------------------------------

  /** Every answer that waits, oldest first, without the frames of results. */
  waiting(): Promise<OutboxItem[]> {
    return this.database.read(["outbox"], everythingWaiting);
  }

  /** The answer that waits for a lease, null where there is none. */
  waitingAnswer(key: LeaseKey): Promise<OutboxItem | null> {
    return this.database.read(["outbox"], (transaction) => waitingUnder(transaction, key));
  }

  /** The frame of the result at a place, null where it waits no longer. */
  frame(place: number): Promise<Uint8Array<ArrayBuffer> | null> {
    return this.database.read(["frames"], async (transaction) => {
      const frame: Uint8Array<ArrayBuffer> | undefined = await answered(transaction.objectStore("frames").get(place));
      return frame ?? null;
    });
  }

  /** How many bytes of results wait. */
  async waitingBytes(): Promise<number> {
    return (await this.waiting()).reduce((sum, item) => sum + (item.kind === "result" ? item.size_bytes : 0), 0);
  }

  // --- the log -------------------------------------------------------------------------------------------------------

  /** What came of a lease, null where the log does not have it. */
  async outcome(key: LeaseKey): Promise<Outcome | null> {
    const entry = await this.database.read(["journal"], (transaction) => readEntry(transaction, key));
    return entry?.outcome ?? null;
  }

  /** Sum what was begun in the owner's day that starts at a moment (UTC ms). */
  usageSince(day_start_ms: number): Promise<UsageToday> {
    return this.database.read(["hours", "journal"], (transaction) => sumDay(transaction, day_start_ms));
  }

  /** Read a part of the log, newest first. Fewer than `limit` entries: the log has no more. */
  async entries(query: LogQuery): Promise<LogEntry[]> {
    const { before, limit, search = "" } = query;
    const matches = searchedFor(search);
    // One more than asked for: the entry at `before` is read again.
    const count = search === "" ? Math.min(limit + 1, ENTRIES_AT_ONCE) : ENTRIES_AT_ONCE;
    const found: LogEntry[] = [];
    let below_ms = before === undefined ? null : before[0] + 1;
    while (found.length < limit) {
      const piece = await this.pieceOf(below_ms, count);
      found.push(...piece.entries.filter((entry) => (!before || isBehind(entry, before)) && matches(entry)));
      if (piece.rest_ms === null) break;
      below_ms = piece.rest_ms;
    }
    return found.slice(0, limit);
  }

  /** Read the whole log, newest first; what begins meanwhile is left out. */
  async *everyEntry(): AsyncGenerator<LogEntry, void, void> {
    let below_ms: number | null = null;
    do {
      const piece = await this.pieceOf(below_ms, ENTRIES_AT_ONCE);
      yield* piece.entries;
      below_ms = piece.rest_ms;
    } while (below_ms !== null);
  }

  /** The sums of each hour that begins at a moment (UTC ms) or later, oldest first; hours without fetches are left out. */
  hours(from_ms: number): Promise<HourTotals[]> {
    return this.database.read(["hours"], (transaction) =>
      answered<HourTotals[]>(transaction.objectStore("hours").getAll(IDBKeyRange.lowerBound(from_ms))),
    );
  }

  /** Delete the oldest entries above `most`, but none whose fetch is under way or whose answer waits; return how many. */
  prune(most: number = MOST_ENTRIES): Promise<number> {
    return this.change(["journal", "outbox"], "relaxed", (transaction) => pruneEntries(transaction, most));
  }

  private pieceOf(below_ms: number | null, count: number): Promise<LogPiece> {
    return this.database.read(["journal"], (transaction) => readPiece(transaction, below_ms, count));
  }

  private conclude(after: LogEntry, keep: (transaction: IDBTransaction) => Promise<void>): Promise<boolean> {
    return this.change(["journal", "outbox", "frames", "hours"], "strict", async (transaction) => {
      const before = await readEntry(transaction, after);
      if (before?.outcome !== "fetching") return false;
      await answered(transaction.objectStore("journal").put(after));
      await addToHour(transaction, after.started_ms, bytesSince(before, after));
      await keep(transaction);
      return true;
    });
  }

  private async change<T>(
    stores: readonly StoreName[],
    durability: Durability,
    work: (transaction: IDBTransaction) => Promise<T>,
  ): Promise<T> {
    const result = await this.database.write(stores, durability, work);
    if (!this.isClosed) this.channel.postMessage(null);
    return result;
  }
}

function endedBy(entry: LogEntry, message: Refuse | Failure): LogEntry {
  return {
    ...entry,
    outcome: message.type === "refuse" ? "refused" : "failed",
    reason: message.reason,
    detail: message.detail.slice(0, DETAIL_CHARACTERS),
  };
}

function bytesSince(before: LogEntry, after: LogEntry): { received_bytes: number; sent_bytes: number } {
  return {
    received_bytes: after.received_bytes - before.received_bytes,
    sent_bytes: after.sent_bytes - before.sent_bytes,
  };
}
