/** The log's entries: every URL this node fetched, or refused to fetch, and what came of it. */

/** What came of a job. `fetching` and `sent` are on the way; the rest are final. */
export type Outcome =
  | "fetching"
  | "sent"
  | "interrupted"
  | "stored"
  | "duplicate"
  | "stale"
  | "rejected"
  | "noted"
  | "failed"
  | "refused"
  | "cancelled";

/**
 * One lease of one job. Times are UTC ms; `reward` is in base units of the token; `hops` are URLs in order.
 * `reason` is a code of the protocol (refusal, failure, or a dispatcher's outcome), `detail` words for people: hostile
 * text where it came from the network. `host` is the host of `url`, for search and "never this site".
 */
export interface LogEntry {
  readonly job_id: string;
  readonly lease: number;
  readonly started_ms: number;
  readonly finished_ms: number | null;
  readonly url: string;
  readonly host: string;
  readonly final_url: string | null;
  readonly hops: readonly string[];
  readonly purpose: string;
  readonly status: number | null;
  readonly received_bytes: number;
  readonly sent_bytes: number;
  readonly outcome: Outcome;
  readonly reason: string;
  readonly detail: string;
  readonly reward: number;
  readonly log_index: number | null;
}

/** Sums over one hour that begins at `hour_ms` (UTC ms, a multiple of 3,600,000). `jobs` counts fetches begun. */
export interface HourTotals {
  readonly hour_ms: number;
  readonly jobs: number;
  readonly stored: number;
  readonly received_bytes: number;
  readonly sent_bytes: number;
  readonly reward: number;
}

/** What the owner's limits a day are held against: since the owner's midnight. */
export interface UsageToday {
  readonly jobs: number;
  readonly bytes: number;
}

export const MOST_ENTRIES = 100_000;
/** The name of the BroadcastChannel on which a change of the log is announced to open pages. */
export const JOURNAL_CHANNEL = "meadow-journal";
