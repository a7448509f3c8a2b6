/** Reading and writing the limits an owner types. A wrong one is null or undefined, never a guess. */
import type { Hours } from "../../node/owner_state.ts";

export const BYTES_A_MEGABYTE = 1_000_000;
export const MINUTES_A_DAY = 24 * 60;
export const LARGEST_DAILY_MEGABYTES = 1_000_000;
export const LARGEST_DAILY_JOBS = 10_000_000;

/** Read a whole number within bounds; undefined where the text is none. */
export function readWhole(text: string, least: number, most: number): number | undefined {
  const digits = text.trim();
  if (!/^\d{1,15}$/.test(digits)) return undefined;
  const value = Number(digits);
  return least <= value && value <= most ? value : undefined;
}

/** Read `HH:MM`, as an input of type `time` has it, as a minute of the day; undefined where the text is none. */
export function readMinute(text: string): number | undefined {
  const match = /^([01]\d|2[0-3]):([0-5]\d)/.exec(text);
  return match === null ? undefined : Number(match[1]) * 60 + Number(match[2]);
}

/** Write a minute of the day as `HH:MM`. */
export function minuteText(minute: number): string {
  const two = (part: number): string => String(part).padStart(2, "0");
  return `${two(Math.floor(minute / 60) % 24)}:${two(minute % 60)}`;
}

/** How a span lies in the day; `until_midnight` ends with it, `all_day` has equal ends. */
export function spanKind(hours: Hours): "same_day" | "until_midnight" | "past_midnight" | "all_day" {
  if (hours.start === hours.end) return "all_day";
  if (hours.end === 0) return "until_midnight";
  return hours.start < hours.end ? "same_day" : "past_midnight";
}

/** Count the minutes of a day that some span covers. */
export function coveredMinutes(spans: readonly Hours[]): number {
  let covered = 0;
  for (let minute = 0; minute < MINUTES_A_DAY; minute += 1) {
    if (spans.some((span) => covers(span, minute))) covered += 1;
  }
  return covered;
}

function covers({ start, end }: Hours, minute: number): boolean {
  return start < end ? start <= minute && minute < end : minute >= start || minute < end;
}
