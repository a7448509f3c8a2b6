/** Makes the n-th write to IndexedDB go wrong, for tests of what stands afterwards. */

/**
 * How a write goes wrong: the browser refuses it; the transaction ends before the write is carried out, or right after
 * it, as when the worker dies.
 */
export type Break = "refused" | "ended before" | "ended after";

type Write = (this: IDBObjectStore, ...given: unknown[]) => IDBRequest;

const METHODS = ["add", "put", "delete"] as const;

/** Break the `nth` write from now on, counted from 1; returns how many were tried so far, and the way back. */
export function breakWrite(nth: number, how: Break): { readonly writes: () => number; readonly mend: () => void } {
  const prototype = IDBObjectStore.prototype as unknown as Record<(typeof METHODS)[number], Write>;
  const originals = METHODS.map((method) => prototype[method]);
  let writes = 0;
  for (const method of METHODS) {
    const original = prototype[method];
    prototype[method] = function (...given) {
      writes += 1;
      if (writes !== nth) return original.apply(this, given);
      if (how === "refused") throw new DOMException("the disk is full", "QuotaExceededError");
      const request = original.apply(this, given);
      if (how === "ended before") this.transaction.abort();
      else request.addEventListener("success", () => this.transaction.abort());
      return request;
    };
  }
  return {
    writes: () => writes,
    mend: () => {
      for (const [index, method] of METHODS.entries()) prototype[method] = originals[index] ?? prototype[method];
    },
  };
}
