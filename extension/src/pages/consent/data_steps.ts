/** The daily limit of data on the consent page: its steps, its bounds, and what it is like. Pure. */

/** Bytes of a megabyte, in decimal units. */
export const MEGABYTE = 1_000_000;
export const LEAST_MEGABYTES = 10;
export const MOST_MEGABYTES = 1_000_000;

/** The slider's stops in megabytes a day. */
export const STEPS: readonly number[] = [50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 20_000];

/** A film in high definition takes about this much for an hour. */
const VIDEO_MEGABYTES_AN_HOUR = 3_000;

/** The place of the slider's stop that is nearest, by ratio. */
export function nearestStep(megabytes: number): number {
  const distance = (step: number): number => Math.abs(Math.log(step / megabytes));
  return STEPS.reduce((best, step, place) => (distance(step) < distance(STEPS[best] ?? 1) ? place : best), 0);
}

/** Read a whole number of megabytes within the bounds; null where the text is none. */
export function readMegabytes(text: string): number | null {
  const digits = text.trim();
  if (!/^\d{1,9}$/.test(digits)) return null;
  const value = Number(digits);
  return value >= LEAST_MEGABYTES && value <= MOST_MEGABYTES ? value : null;
}

/** How many minutes of video in high definition take as much, at least one. */
export function videoMinutes(megabytes: number): number {
  return Math.max(1, Math.round((megabytes * 60) / VIDEO_MEGABYTES_AN_HOUR));
}
