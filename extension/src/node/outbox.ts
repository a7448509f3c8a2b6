/** Answers that the dispatcher has not acknowledged yet. They are sent again in every new session, oldest first. */
import { LIMITS } from "../protocol/limits.ts";
import type { Failure, Refuse } from "../protocol/types.ts";

/** How many bytes of results may wait; above, no job is taken. */
export const WAITING_BYTES = 256 * 1024 * 1024;
/** How many refusals and failures wait at most; above, the oldest gives way, for its lease's expiry says the same. */
export const NOTES = 1_000;

/** One lease of one job. */
export interface LeaseKey {
  readonly job_id: string;
  readonly lease: number;
}

/** A result; its frame is read by its place. `place` rises with time and is never used again. */
export interface WaitingResult extends LeaseKey {
  readonly kind: "result";
  readonly place: number;
  readonly size_bytes: number;
}

/** A refusal or a failure. */
export interface WaitingNote extends LeaseKey {
  readonly kind: "note";
  readonly place: number;
  readonly message: Refuse | Failure;
}

export type OutboxItem = WaitingResult | WaitingNote;

/** Whether another result of the largest size might not find room. */
export function isFull(waitingBytes: number): boolean {
  return waitingBytes + LIMITS.BINARY_FRAME_BYTES > WAITING_BYTES;
}
