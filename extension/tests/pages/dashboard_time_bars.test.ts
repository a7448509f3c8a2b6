import { afterEach, describe, expect, it, vi } from "vitest";
import type { HourTotals } from "../../src/node/journal.ts";
import {
  DAILY_BARS,
  dailyBars,
  earliestHour,
  HOUR_MS,
  HOURLY_BARS,
  hourlyBars,
  scaleEnd,
} from "../../src/pages/dashboard/time_bars.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

function inZone(zone: string): void {
  vi.stubEnv("TZ", zone);
}

function everyHour(from_ms: number, until_ms: number): HourTotals[] {
  const hours: HourTotals[] = [];
  for (let hour_ms = Math.floor(from_ms / HOUR_MS) * HOUR_MS; hour_ms < until_ms; hour_ms += HOUR_MS) {
    hours.push({ hour_ms, jobs: 1, stored: 1, received_bytes: 10, sent_bytes: 5, reward: 3 });
  }
  return hours;
}

describe("hourly bars", () => {
  const now_ms = Date.UTC(2026, 10, 22, 8, 30);

  it("are the 24 hours up to the running one, without gap or overlap", () => {
    const bars = hourlyBars([], now_ms);
    expect(bars).toHaveLength(HOURLY_BARS);
    expect(bars.at(-1)?.from_ms).toBe(Date.UTC(2026, 10, 22, 8));
    bars.forEach((bar, index) => {
      expect(bar.until_ms - bar.from_ms).toBe(HOUR_MS);
      if (index > 0) expect(bar.from_ms).toBe(bars[index - 1]?.until_ms);
    });
  });

  it("take each bucket into its own bar and leave older ones out", () => {
    const running = {
      hour_ms: Date.UTC(2026, 10, 22, 8),
      jobs: 4,
      stored: 3,
      received_bytes: 9,
      sent_bytes: 8,
      reward: 7,
    };
    const oldest = { ...running, hour_ms: Date.UTC(2026, 10, 21, 9), jobs: 1 };
    const tooOld = { ...running, hour_ms: Date.UTC(2026, 10, 21, 8), jobs: 100 };
    const bars = hourlyBars([tooOld, oldest, running], now_ms);
    expect(bars.map((bar) => bar.jobs)).toEqual([1, ...Array(22).fill(0), 4]);
    expect(bars.at(-1)).toMatchObject({ stored: 3, received_bytes: 9, sent_bytes: 8, reward: 7 });
  });
});

describe("daily bars", () => {
  it.each([
    // Clocks go forward on 29 March 2026 in Berlin: 23 hours; back on 25 October: 25.
    ["Europe/Berlin", new Date("2026-04-05T10:00:00Z"), "2026-03-29", 23],
    ["Europe/Berlin", new Date("2026-11-01T10:00:00Z"), "2026-10-25", 25],
    ["America/New_York", new Date("2026-03-10T12:00:00Z"), "2026-03-08", 23],
    ["America/New_York", new Date("2026-11-03T12:00:00Z"), "2026-11-01", 25],
    // In Cairo the hour after midnight does not exist on 24 April 2026.
    ["Africa/Cairo", new Date("2026-04-28T12:00:00Z"), "2026-04-24", 23],
    ["UTC", new Date("2026-04-28T12:00:00Z"), "2026-04-24", 24],
  ])("in %s at %s give the day %s %i hours", (zone, now, day, hours) => {
    inZone(zone);
    const now_ms = now.getTime();
    const bars = dailyBars(everyHour(now_ms - 40 * 24 * HOUR_MS, now_ms), now_ms);
    expect(bars).toHaveLength(DAILY_BARS);
    const bar = bars.find(({ from_ms }) => localDate(from_ms) === day);
    expect(bar).toMatchObject({ jobs: hours, received_bytes: hours * 10, sent_bytes: hours * 5, reward: hours * 3 });
    for (const other of bars.slice(0, -1)) if (other !== bar) expect([23, 24, 25]).toContain(other.jobs);
  });

  it("end with today so far, and name each calendar day once", () => {
    inZone("Europe/Berlin");
    const now_ms = Date.UTC(2026, 10, 1, 10, 30);
    const bars = dailyBars(everyHour(now_ms - 40 * 24 * HOUR_MS, now_ms), now_ms);
    expect(new Set(bars.map((bar) => localDate(bar.from_ms))).size).toBe(DAILY_BARS);
    expect(bars.at(-1)?.from_ms).toBe(new Date(2026, 10, 1).getTime());
    // 00:00 to 11:30 in Berlin: twelve buckets have begun.
    expect(bars.at(-1)?.jobs).toBe(12);
  });

  it.each(["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia"])(
    "in %s count each bucket of the 30 days once",
    (zone) => {
      inZone(zone);
      const now_ms = Date.UTC(2026, 3, 20, 3, 12);
      const hours = everyHour(earliestHour(now_ms), now_ms);
      const jobs = dailyBars(hours, now_ms).reduce((sum, bar) => sum + bar.jobs, 0);
      // The bucket around the first midnight may begin in the day before.
      expect([hours.length, hours.length - 1]).toContain(jobs);
    },
  );
});

describe("the earliest hour", () => {
  it("is a bucket from which both plots are complete", () => {
    inZone("Asia/Kolkata");
    const now_ms = Date.UTC(2026, 3, 20, 3, 12);
    const earliest_ms = earliestHour(now_ms);
    expect(earliest_ms % HOUR_MS).toBe(0);
    expect(earliest_ms).toBeLessThanOrEqual(dailyBars([], now_ms)[0]?.from_ms ?? 0);
    expect(earliest_ms).toBeLessThanOrEqual(hourlyBars([], now_ms)[0]?.from_ms ?? 0);
  });
});

describe("the end of a scale", () => {
  it.each([
    [0, 10, 10],
    [10, 10, 10],
    [11, 10, 20],
    [20, 10, 20],
    [21, 10, 50],
    [99, 10, 100],
    [100, 10, 100],
    [123_456_789, 1_000, 200_000_000],
    [1e15, 1, 1e15],
  ])("for %i (at least %i) is %i", (value, least, end) => {
    expect(scaleEnd(value, least)).toBe(end);
  });
});

function localDate(time_ms: number): string {
  const time = new Date(time_ms);
  const two = (part: number): string => String(part).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}
