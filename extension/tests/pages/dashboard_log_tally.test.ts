import { expect, test } from "vitest";
import type { LogEntry, Outcome } from "../../src/node/journal.ts";
import { tallyLog } from "../../src/pages/dashboard/log_tally.ts";

function entry(outcome: Outcome, reason = "", detail = ""): LogEntry {
  return {
    job_id: "01a3185c-5000-7000-8000-000000000001",
    lease: 1,
    started_ms: 0,
    finished_ms: null,
    url: "https://example.org/",
    host: "example.org",
    final_url: null,
    hops: [],
    purpose: "search",
    status: null,
    received_bytes: 0,
    sent_bytes: 0,
    outcome,
    reason,
    detail,
    reward: 0,
    log_index: null,
  };
}

test("counts what tells of reliability, and nothing else", async () => {
  const outcomes: Outcome[] = [
    "stored",
    "duplicate",
    "fetching",
    "sent",
    "stale",
    "interrupted",
    "cancelled",
    "stored",
  ];
  const tally = await tallyLog(outcomes.map((outcome) => entry(outcome, outcome)));
  expect(tally.stored).toEqual({ count: 3, reasons: [] });
  for (const outcome of ["rejected", "failed", "refused"] as const) {
    expect(tally[outcome]).toEqual({ count: 0, reasons: [] });
  }
});

test("gives reasons with the most frequent first: codes, and for rejections the dispatcher's words", async () => {
  const tally = await tallyLog([
    entry("failed", "timeout", "the site closed the connection"),
    entry("failed", "dns_failed"),
    entry("failed", "timeout"),
    entry("refused", "cap_reached"),
    entry("rejected", "rejected", "the body does not match"),
    entry("rejected", "rejected"),
  ]);
  expect(tally.failed).toEqual({
    count: 3,
    reasons: [
      { reason: "timeout", count: 2 },
      { reason: "dns_failed", count: 1 },
    ],
  });
  expect(tally.refused).toEqual({ count: 1, reasons: [{ reason: "cap_reached", count: 1 }] });
  expect(tally.rejected).toEqual({ count: 2, reasons: [{ reason: "the body does not match", count: 1 }] });
});

test("counts all where it names the five most frequent", async () => {
  const entries = Array.from({ length: 9 }, (_, kind) =>
    Array.from({ length: kind + 1 }, () => entry("failed", `code_${kind}`)),
  ).flat();
  const { failed } = await tallyLog(entries);
  expect(failed.count).toBe(45);
  expect(failed.reasons.map(({ reason }) => reason)).toEqual(["code_8", "code_7", "code_6", "code_5", "code_4"]);
});

test("rejects where the log cannot be read", async () => {
  async function* broken(): AsyncIterable<LogEntry> {
    yield entry("stored");
    throw new Error("the store closed");
  }
  await expect(tallyLog(broken())).rejects.toThrow("the store closed");
});
