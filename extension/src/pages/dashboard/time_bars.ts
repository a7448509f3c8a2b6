/** Hour buckets of the store (UTC) as the bars of a plot in the owner's time zone. */
import type { HourTotals } from "../../node/journal.ts";

export const HOUR_MS = 3_600_000;
export const HOURLY_BARS = 24;
export const DAILY_BARS = 30;

/** What happened from `from_ms` until before `until_ms` (UTC ms). */
export interface TimeBar {
  readonly from_ms: number;
  readonly until_ms: number;
  readonly jobs: number;
  readonly stored: number;
  readonly received_bytes: number;
  readonly sent_bytes: number;
  readonly reward: number;
}

/** The last 24 hours, oldest first; the last bar is the hour that runs now. */
export function hourlyBars(hours: readonly HourTotals[], now_ms: number): TimeBar[] {
  const first_ms = Math.floor(now_ms / HOUR_MS) * HOUR_MS - (HOURLY_BARS - 1) * HOUR_MS;
  return summed(
    Array.from({ length: HOURLY_BARS + 1 }, (_, index) => first_ms + index * HOUR_MS),
    hours,
  );
}

/**
 * The last 30 days of the local calendar, oldest first; the last bar is today. A day has 23 or 25 hours where clocks
 * change. Where midnight is not on a full hour of UTC, the hour around it counts to the day in which it begins.
 */
export function dailyBars(hours: readonly HourTotals[], now_ms: number): TimeBar[] {
  const now = new Date(now_ms);
  const [year, month, day] = [now.getFullYear(), now.getMonth(), now.getDate()];
  return summed(
    Array.from({ length: DAILY_BARS + 1 }, (_, index) =>
      new Date(year, month, day - (DAILY_BARS - 1) + index).getTime(),
    ),
    hours,
  );
}

/** The earliest bucket that either plot needs: what to ask the store for. */
export function earliestHour(now_ms: number): number {
  const now = new Date(now_ms);
  const first_ms = new Date(now.getFullYear(), now.getMonth(), now.getDate() - (DAILY_BARS - 1)).getTime();
  return Math.floor(first_ms / HOUR_MS) * HOUR_MS;
}

/** The end of a scale that a value fits under: 1, 2 or 5 times a power of ten, at least `least`. */
export function scaleEnd(value: number, least: number): number {
  if (value <= least) return least;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

function summed(edges: readonly number[], hours: readonly HourTotals[]): TimeBar[] {
  const bars = edges.slice(0, -1).map((from_ms, index) => ({
    from_ms,
    until_ms: edges[index + 1] ?? from_ms,
    jobs: 0,
    stored: 0,
    received_bytes: 0,
    sent_bytes: 0,
    reward: 0,
  }));
  for (const hour of hours) {
    const bar = bars.find(({ from_ms, until_ms }) => from_ms <= hour.hour_ms && hour.hour_ms < until_ms);
    if (bar === undefined) continue;
    bar.jobs += hour.jobs;
    bar.stored += hour.stored;
    bar.received_bytes += hour.received_bytes;
    bar.sent_bytes += hour.sent_bytes;
    bar.reward += hour.reward;
  }
  return bars;
}
