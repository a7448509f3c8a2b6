/** The log as comma-separated values (RFC 4180) that no spreadsheet takes for formulas. */
import type { LogEntry } from "../../node/journal.ts";

export const CSV_HEADER = [
  "started",
  "finished",
  "url",
  "final_url",
  "hops",
  "purpose",
  "status",
  "received_bytes",
  "sent_bytes",
  "outcome",
  "reason",
  "detail",
  "reward",
  "log_index",
  "job_id",
  "lease",
] as const;

const PIECE_CHARACTERS = 1_000_000;

/** Write UTC milliseconds as RFC 3339, to the second. */
export function timeText(time_ms: number): string {
  return `${new Date(time_ms).toISOString().slice(0, 19)}Z`;
}

/** Write one line with its CRLF. Text that a spreadsheet would take for a formula begins with an apostrophe. */
export function csvLine(cells: readonly (string | number | null)[]): string {
  return `${cells.map(csvCell).join(",")}\r\n`;
}

/** Write one entry as the cells of `CSV_HEADER`; `reward` in base units of the token. */
export function csvRow(entry: LogEntry): string {
  return csvLine([
    timeText(entry.started_ms),
    entry.finished_ms === null ? null : timeText(entry.finished_ms),
    entry.url,
    entry.final_url,
    entry.hops.join(" "),
    entry.purpose,
    entry.status,
    entry.received_bytes,
    entry.sent_bytes,
    entry.outcome,
    entry.reason,
    entry.detail,
    entry.reward,
    entry.log_index,
    entry.job_id,
    entry.lease,
  ]);
}

/**
 * Write entries to one file. Text is handed to Blobs piece by piece, which a browser may keep on disk: the whole log is
 * never one string. `written` is told after each piece how many entries are done. Rejects where the entries do.
 */
export async function csvFile(
  entries: AsyncIterable<LogEntry> | Iterable<LogEntry>,
  written: (count: number) => void = () => undefined,
): Promise<Blob> {
  const pieces: Blob[] = [];
  let text = csvLine(CSV_HEADER);
  let count = 0;
  for await (const entry of entries) {
    text += csvRow(entry);
    count += 1;
    if (text.length >= PIECE_CHARACTERS) {
      pieces.push(new Blob([text]));
      text = "";
      written(count);
    }
  }
  written(count);
  return new Blob([...pieces, text], { type: "text/csv;charset=utf-8" });
}

/** Name the file by the owner's date. */
export function csvName(now: Date): string {
  const parts = [now.getFullYear(), now.getMonth() + 1, now.getDate()];
  return `meadow-log-${parts.map((part) => String(part).padStart(2, "0")).join("-")}.csv`;
}

function csvCell(cell: string | number | null): string {
  if (cell === null) return "";
  if (typeof cell === "number") return String(cell);
  const harmless = /^[=+\-@\t\r\n]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
