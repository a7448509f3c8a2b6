/** What the test asks of the probe's worker, and what it hears. */

/**
 * One fetch. `forced`: without the check of the URL, as if a rule had a hole; `untagged`: past the adapter;
 * `socket`: no fetch but a WebSocket. Times in ms, sizes in bytes.
 */
export interface Errand {
  readonly id: number;
  readonly url: string;
  readonly forced?: boolean;
  readonly untagged?: boolean;
  readonly socket?: boolean;
  readonly accept_language?: string;
  readonly max_wire_bytes?: number;
  readonly max_body_bytes?: number;
  readonly max_redirects?: number;
  readonly timeout_ms?: number;
  readonly own_networks?: readonly string[];
  readonly daily_bytes?: number;
  readonly abort_after_ms?: number;
  /** How many redirects the dispatcher allows; -1: it never answers. */
  readonly hops_allowed?: number;
}

/** `outcome` is the page without its payload, or why there is none; `payload` base64 where it is not large. */
export interface Report {
  readonly id: number;
  readonly outcome: object;
  readonly payload: string;
  readonly hops_asked: readonly string[];
  readonly counted: readonly number[];
  readonly took_ms: number;
}

export const CHANNEL = "errands";
