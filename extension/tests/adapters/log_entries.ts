/** Entries and answers for tests of the store, and the whole content of its database. */
import type { LogEntry } from "../../src/node/journal.ts";
import type { LeaseKey } from "../../src/node/outbox.ts";
import type { Ack, Failure, Refuse } from "../../src/protocol/types.ts";

export const START_MS = Date.UTC(2026, 10, 22, 8, 10);
export const HOUR_MS = 3_600_000;

/** The job id of a number. */
export function jobId(number: number): string {
  return `01a3185c-5000-7000-8000-${String(number).padStart(12, "0")}`;
}

/** An entry of a fetch that begins, a second after that of the number before. */
export function entryOf(number: number, changes: Partial<LogEntry> = {}): LogEntry {
  return {
    job_id: jobId(number),
    lease: 1,
    started_ms: START_MS + number * 1_000,
    finished_ms: null,
    url: `https://site${number}.example/page`,
    host: `site${number}.example`,
    final_url: null,
    hops: [],
    purpose: "search",
    status: null,
    received_bytes: 0,
    sent_bytes: 0,
    outcome: "fetching",
    reason: "",
    detail: "",
    reward: 0,
    log_index: null,
    ...changes,
  };
}

/** The entry of a fetch that brought a page. */
export function fetchedOf(number: number, changes: Partial<LogEntry> = {}): LogEntry {
  const finished_ms = START_MS + number * 1_000 + 500;
  return entryOf(number, {
    finished_ms,
    status: 200,
    received_bytes: 1_000,
    sent_bytes: 300,
    outcome: "sent",
    ...changes,
  });
}

export function frameOf(number: number, size_bytes = 300): Uint8Array<ArrayBuffer> {
  return new Uint8Array(size_bytes).fill(number);
}

export function keyOf({ job_id, lease }: LeaseKey): LeaseKey {
  return { job_id, lease };
}

export function refuseOf(number: number, changes: Partial<Refuse> = {}): Refuse {
  return { type: "refuse", job_id: jobId(number), lease: 1, reason: "busy", detail: "too much to do", ...changes };
}

export function failureOf(number: number, changes: Partial<Failure> = {}): Failure {
  return { type: "failure", job_id: jobId(number), lease: 1, reason: "timeout", detail: "not in time", ...changes };
}

export function ackOf(number: number, changes: Partial<Ack> = {}): Ack {
  return {
    type: "ack",
    job_id: jobId(number),
    lease: 1,
    outcome: "stored",
    reason: "",
    reward: 25,
    log_index: 4,
    ...changes,
  };
}

/** Everything the database holds, by store, key and value. */
export async function everythingStored(): Promise<unknown> {
  const database = await settled(indexedDB.open("meadow"));
  const names = [...database.objectStoreNames];
  const transaction = database.transaction(names);
  const content = await Promise.all(
    names.map(async (name) => {
      const store = transaction.objectStore(name);
      return [name, await Promise.all([settled(store.getAllKeys()), settled(store.getAll())])];
    }),
  );
  database.close();
  return Object.fromEntries(content);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
