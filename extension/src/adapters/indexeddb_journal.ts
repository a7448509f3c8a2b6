/** The log and its sums by the hour, inside a transaction. */
import type { HourTotals, LogEntry, UsageToday } from "../node/journal.ts";
import type { LeaseKey } from "../node/outbox.ts";
import { answered, walk } from "./indexeddb_database.ts";
import { everythingWaiting } from "./indexeddb_outbox.ts";

export const HOUR_MS = 3_600_000;
const LONGEST_DAY_MS = 25 * HOUR_MS;

/** The place of an entry in the log, which is sorted by these three. */
export type LogPlace = readonly [started_ms: number, job_id: string, lease: number];

/** A piece of the log, newest first; `rest_ms` is below which moment the rest began, null at the log's end. */
export interface LogPiece {
  readonly entries: LogEntry[];
  readonly rest_ms: number | null;
}

/** The entry of a lease. */
export async function readEntry(transaction: IDBTransaction, key: LeaseKey): Promise<LogEntry | null> {
  const entry: LogEntry | undefined = await answered(transaction.objectStore("journal").get([key.job_id, key.lease]));
  return entry ?? null;
}

/** Read about `count` entries, the newest of those that began below a moment (UTC ms), null: of all. */
export async function readPiece(
  transaction: IDBTransaction,
  below_ms: number | null,
  count: number,
): Promise<LogPiece> {
  const index = transaction.objectStore("journal").index("started_ms");
  const older = below_ms === null ? null : IDBKeyRange.upperBound(below_ms, true);
  let oldest_ms: number | null = null;
  let isAdvanced = count <= 1;
  await walk(index.openKeyCursor(older, "prev"), (cursor) => {
    if (isAdvanced) {
      oldest_ms = Number(cursor.key);
      return false;
    }
    isAdvanced = true;
    cursor.advance(count - 1);
    return true;
  });
  const range = oldest_ms === null ? older : withinMs(oldest_ms, below_ms);
  const entries: LogEntry[] = await answered(index.getAll(range));
  return { entries: entries.reverse(), rest_ms: oldest_ms };
}

function withinMs(from_ms: number, below_ms: number | null): IDBKeyRange {
  return below_ms === null ? IDBKeyRange.lowerBound(from_ms) : IDBKeyRange.bound(from_ms, below_ms, false, true);
}

/** Whether an entry stands behind a place in the log, which begins with the newest. */
export function isBehind(entry: LogEntry, place: LogPlace): boolean {
  return indexedDB.cmp([entry.started_ms, entry.job_id, entry.lease], place) < 0;
}

/**
 * A test for entries that contain every word of a search in their host, URL, final URL or outcome, whatever their case.
 * A word outside of ASCII is also looked for as URLs write it.
 */
export function searchedFor(search: string): (entry: LogEntry) => boolean {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "")
    .map(spellings);
  return (entry) => {
    const text = `${entry.host} ${entry.url} ${entry.final_url ?? ""} ${entry.outcome}`.toLowerCase();
    return words.every((forms) => forms.some((form) => text.includes(form)));
  };
}

function spellings(word: string): string[] {
  if (/^[\x20-\x7e]*$/.test(word) || /\p{Surrogate}/u.test(word)) return [word];
  const asHost = URL.canParse(`http://${word}/`) ? [new URL(`http://${word}/`).hostname] : [];
  return [word, encodeURI(word).toLowerCase(), ...asHost];
}

/** Add to the sums of the hour in which a fetch began. */
export async function addToHour(
  transaction: IDBTransaction,
  started_ms: number,
  added: Partial<Omit<HourTotals, "hour_ms">>,
): Promise<void> {
  const hours = transaction.objectStore("hours");
  const hour_ms = started_ms - (started_ms % HOUR_MS);
  const before: HourTotals | undefined = await answered(hours.get(hour_ms));
  const after: HourTotals = {
    hour_ms,
    jobs: (before?.jobs ?? 0) + (added.jobs ?? 0),
    stored: (before?.stored ?? 0) + (added.stored ?? 0),
    received_bytes: (before?.received_bytes ?? 0) + (added.received_bytes ?? 0),
    sent_bytes: (before?.sent_bytes ?? 0) + (added.sent_bytes ?? 0),
    reward: (before?.reward ?? 0) + (added.reward ?? 0),
  };
  await answered(hours.put(after));
}

/**
 * Sum what was begun in the day that starts at a moment (UTC ms). A midnight may lie within an hour of UTC: what began
 * before it in that hour is taken off again by the log. Where the log no longer has it, the sum is too high, never too low.
 */
export async function sumDay(transaction: IDBTransaction, day_start_ms: number): Promise<UsageToday> {
  const first_ms = day_start_ms - (day_start_ms % HOUR_MS);
  const day = IDBKeyRange.bound(first_ms, day_start_ms + LONGEST_DAY_MS);
  const hours: HourTotals[] = await answered(transaction.objectStore("hours").getAll(day));
  let jobs = 0;
  let bytes = 0;
  for (const hour of hours) {
    jobs += hour.jobs;
    bytes += hour.received_bytes + hour.sent_bytes;
  }
  if (first_ms < day_start_ms) {
    const eve = IDBKeyRange.bound(first_ms, day_start_ms, false, true);
    const index = transaction.objectStore("journal").index("started_ms");
    const before: LogEntry[] = await answered(index.getAll(eve));
    for (const entry of before) {
      jobs -= entry.outcome === "refused" ? 0 : 1;
      bytes -= entry.received_bytes + entry.sent_bytes;
    }
  }
  return { jobs: Math.max(0, jobs), bytes: Math.max(0, bytes) };
}

/** Delete the oldest entries above `most`, but none whose fetch is under way or whose answer waits; return how many. */
export async function pruneEntries(transaction: IDBTransaction, most: number): Promise<number> {
  const journal = transaction.objectStore("journal");
  let excess = (await answered(journal.count())) - most;
  if (excess <= 0) return 0;
  const waiting = new Set((await everythingWaiting(transaction)).map((item) => `${item.job_id}/${item.lease}`));
  let deleted = 0;
  await walk(journal.index("started_ms").openCursor(), (cursor) => {
    const entry: LogEntry = cursor.value;
    if (entry.outcome !== "fetching" && !waiting.has(`${entry.job_id}/${entry.lease}`)) {
      cursor.delete();
      deleted += 1;
      excess -= 1;
    }
    if (excess <= 0) return false;
    cursor.continue();
    return true;
  });
  return deleted;
}
