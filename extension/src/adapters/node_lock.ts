/**
 * One lock over every worker and page of the extension (Web Locks API, w3.org/TR/web-locks): whose node runs holds it,
 * and the browser takes it back when that worker dies.
 */

const LOCK = "meadow-node";

/** Take the lock, as soon as no other worker and no page holds it; returns how to give it back. */
export function takeNodeLock(): Promise<() => void> {
  return new Promise((taken, failed) => {
    navigator.locks.request(LOCK, () => new Promise<void>((release) => taken(release))).catch(failed);
  });
}

/**
 * Do something while no node runs and none begins. Rejects with a DOMException where a node goes on for `patience_ms`.
 */
export async function whileNoNodeRuns<T>(work: () => Promise<T>, patience_ms: number): Promise<T> {
  return await navigator.locks.request(LOCK, { signal: AbortSignal.timeout(patience_ms) }, work);
}
