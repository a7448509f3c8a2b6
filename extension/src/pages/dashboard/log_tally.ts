/** What this browser knows of its own reliability: the log's entries, counted by what came of them. */
import type { LogEntry } from "../../node/journal.ts";

/**
 * Entries of one outcome. `reasons`, the most frequent first: codes of the protocol, for rejections the dispatcher's words,
 * which are hostile text.
 */
export interface Tally {
  readonly count: number;
  readonly reasons: readonly { readonly reason: string; readonly count: number }[];
}

export type TalliedOutcome = "stored" | "rejected" | "failed" | "refused";

const MOST_REASONS = 5;

/** Count the entries. One that had been stored before is stored. Rejects where the entries do. */
export async function tallyLog(
  entries: AsyncIterable<LogEntry> | Iterable<LogEntry>,
): Promise<Record<TalliedOutcome, Tally>> {
  const counted = { stored: new Map(), rejected: new Map(), failed: new Map(), refused: new Map() } satisfies Record<
    TalliedOutcome,
    Map<string, number>
  >;
  for await (const entry of entries) {
    const outcome = entry.outcome === "duplicate" ? "stored" : entry.outcome;
    if (!isTallied(outcome)) continue;
    const reasons: Map<string, number> = counted[outcome];
    const reason = outcome === "stored" ? "" : outcome === "rejected" ? entry.detail : entry.reason;
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return {
    stored: tallyOf(counted.stored),
    rejected: tallyOf(counted.rejected),
    failed: tallyOf(counted.failed),
    refused: tallyOf(counted.refused),
  };
}

function isTallied(outcome: string): outcome is TalliedOutcome {
  return outcome === "stored" || outcome === "rejected" || outcome === "failed" || outcome === "refused";
}

function tallyOf(reasons: ReadonlyMap<string, number>): Tally {
  const sorted = [...reasons].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count);
  return {
    count: sorted.reduce((sum, { count }) => sum + count, 0),
    reasons: sorted.filter(({ reason }) => reason !== "").slice(0, MOST_REASONS),
  };
}
