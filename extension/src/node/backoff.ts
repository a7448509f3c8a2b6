/**
 * How long to wait before dialling again: exponential backoff with full jitter (PROTOCOL.md, section 6.7).
 *
 * Full jitter spreads the nodes that a restarted dispatcher lost evenly over the interval, so that they do not all come
 * back in the same moment. The count of failures is the caller's, for it has to outlive the worker.
 */

export const BASE_MS = 500;
export const CEILING_MS = 60_000;
/**
 * A session that lasted this long, or brought an acknowledged result, proves the dispatcher well: the next wait starts
 * from the base again.
 */
export const STABLE_SESSION_MS = 60_000;

/** The longest wait after so many failures, in milliseconds: BASE_MS, doubled with each, at most CEILING_MS. */
export function bound(failures: number): number {
  return Math.min(CEILING_MS, BASE_MS * 2 ** failures);
}

/** The wait after so many failures, in milliseconds. `random` is uniform from 0 up to, not including, 1. */
export function waitMs(failures: number, random: number): number {
  return Math.floor(bound(failures) * random);
}

/** The failures to count on from after a session was open for `lasted_ms` and `acknowledged` results came through. */
export function failuresAfterSession(failures: number, lasted_ms: number, acknowledged: number): number {
  return lasted_ms >= STABLE_SESSION_MS || acknowledged > 0 ? 0 : failures;
}
