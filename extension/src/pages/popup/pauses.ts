/** How long a pause from the popup lasts. Times are the owner's local time; results are UTC ms. Pure. */

const HOUR_MS = 3_600_000;
const MORNING_HOUR = 8;

/** One hour from now. */
export function inOneHour(now: Date): number {
  return now.getTime() + HOUR_MS;
}

/** Tomorrow's morning, at 8:00: the day after the one the calendar shows now. */
export function tomorrowMorning(now: Date): number {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1, MORNING_HOUR).getTime();
}
