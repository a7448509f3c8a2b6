/**
 * The unacknowledged answers inside a transaction: headers in `outbox`, the frames of results in `frames` under the same
 * place, so that a list of what waits reads no body.
 */
import { type LeaseKey, NOTES, type OutboxItem, type WaitingNote, type WaitingResult } from "../node/outbox.ts";
import type { Failure, Refuse } from "../protocol/types.ts";
import { answered } from "./indexeddb_database.ts";

/** What waits under a lease's key. */
export async function waitingUnder(transaction: IDBTransaction, key: LeaseKey): Promise<OutboxItem | null> {
  const index = transaction.objectStore("outbox").index("lease");
  const item: OutboxItem | undefined = await answered(index.get([key.job_id, key.lease]));
  return item ?? null;
}

/** Everything that waits, oldest first. */
export function everythingWaiting(transaction: IDBTransaction): Promise<OutboxItem[]> {
  return answered<OutboxItem[]>(transaction.objectStore("outbox").getAll());
}

/** Keep a result until it is acknowledged. ConstraintError where something waits under its key. */
export async function addResult(
  transaction: IDBTransaction,
  key: LeaseKey,
  frame: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const header: Omit<WaitingResult, "place"> = {
    kind: "result",
    job_id: key.job_id,
    lease: key.lease,
    size_bytes: frame.byteLength,
  };
  const place = await answered(transaction.objectStore("outbox").add(header));
  // A view is stored with the whole of its buffer.
  const whole = frame.byteLength === frame.buffer.byteLength ? frame : frame.slice();
  await answered(transaction.objectStore("frames").add(whole, place));
}

/** Keep a refusal or a failure until it is acknowledged; the oldest gives way above NOTES. */
export async function addNote(transaction: IDBTransaction, message: Refuse | Failure): Promise<void> {
  const outbox = transaction.objectStore("outbox");
  const notes = outbox.index("kind");
  const excess = (await answered(notes.count("note"))) + 1 - NOTES;
  const oldest = excess > 0 ? await answered(notes.getAllKeys("note", excess)) : [];
  for (const place of oldest) await answered(outbox.delete(place));
  const { job_id, lease } = message;
  const note: Omit<WaitingNote, "place"> = { kind: "note", job_id, lease, message };
  await answered(outbox.add(note));
}

/** Drop what waits. */
export async function dropWaiting(transaction: IDBTransaction, item: OutboxItem): Promise<void> {
  await answered(transaction.objectStore("outbox").delete(item.place));
  if (item.kind === "result") await answered(transaction.objectStore("frames").delete(item.place));
}
