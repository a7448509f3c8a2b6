/**
 * What the owner allows: blocked domains, purposes, limits a day, hours, pause, and the connection and power it is for.
 *
 * Times of day are the owner's local time. A day begins at the owner's midnight.
 */
import { LIMITS } from "../protocol/limits.ts";
import type { RefusalCode } from "../protocol/types.ts";
import type { UsageToday } from "./journal.ts";
import type { Hours, OwnerRules, Purpose } from "./owner_state.ts";

export const MINUTES_A_DAY = 24 * 60;

/** A moment in UTC milliseconds, with the owner's minute of the day and the start of the owner's day (UTC ms). */
export interface Moment {
  readonly now_ms: number;
  readonly minute: number;
  readonly day_start_ms: number;
}

/** What the browser tells of the device: "unknown" and null where it does not tell, and then nothing is held against it. */
export interface Surroundings {
  readonly connection: "wifi" | "other" | "unknown";
  readonly on_mains: boolean | null;
}

/** That the owner's rules say no, with the code for the dispatcher and words for people. */
export interface Denial {
  readonly code: RefusalCode;
  readonly detail: string;
}

/** How many jobs may be held now; `reason` is the code of why it is 0, and empty where it is not. */
export interface Availability {
  readonly count: number;
  readonly reason: RefusalCode | "not_wifi" | "not_mains" | "";
}

/** The moment of a clock reading, in the time zone of this browser. */
export function momentOf(now: Date): Moment {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  return {
    now_ms: now.getTime(),
    minute: now.getHours() * 60 + now.getMinutes(),
    day_start_ms: midnight.getTime(),
  };
}

/** Read `HH:MM-HH:MM` or `HH-HH`; RangeError says what is expected. */
export function parseHours(text: string): Hours {
  const parts = /^\s*(\d{1,2})(?::(\d{1,2}))?\s*-\s*(\d{1,2})(?::(\d{1,2}))?\s*$/.exec(text);
  const start = parts === null ? null : minuteOf(parts[1], parts[2]);
  const end = parts === null ? null : minuteOf(parts[3], parts[4]);
  if (start === null || end === null) {
    throw new RangeError(`hours are given as 22:00-07:00 or 22-7; got ${JSON.stringify(text.slice(0, 100))}`);
  }
  return { start: start % MINUTES_A_DAY, end: end % MINUTES_A_DAY };
}

function minuteOf(hour = "", minute = "0"): number | null {
  const total = Number(hour) * 60 + Number(minute);
  return Number(minute) < 60 && total <= MINUTES_A_DAY ? total : null;
}

/** Write hours as `HH:MM-HH:MM`. */
export function formatHours(hours: Hours): string {
  return `${timeOfDay(hours.start)}-${timeOfDay(hours.end)}`;
}

function timeOfDay(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
}

/** Whether a minute of the day lies in the span; equal ends mean the whole day. */
export function covers(hours: Hours, minute: number): boolean {
  if (hours.start < hours.end) return hours.start <= minute && minute < hours.end;
  return minute >= hours.start || minute < hours.end;
}

/** Bring a domain to the form URLs have it in (lower case, punycode); RangeError says what is expected. */
export function normaliseDomain(text: string): string {
  const got = JSON.stringify(text.slice(0, 200));
  const bare = text
    .trim()
    .replace(/^\*\./, "")
    .replace(/^\.+|\.+$/g, "");
  const url = `http://${bare}/`;
  if (bare === "" || !URL.canParse(url)) throw new RangeError(`a domain is a name as example.org; got ${got}`);
  const { hostname } = new URL(url);
  if (/[/@?#\\:\s]/.test(bare) || hostname === "") {
    throw new RangeError(`a domain is a name as example.org, without scheme, port or path; got ${got}`);
  }
  return hostname;
}

/** Check a host against the blocked domains; subdomains are blocked with their domain. */
export function checkHost(rules: OwnerRules, host: string): Denial | null {
  const isBlocked = rules.blocked_domains.some((domain) => host === domain || host.endsWith(`.${domain}`));
  return isBlocked ? { code: "blocked_by_owner", detail: "the owner of this node blocked the domain" } : null;
}

/** Check a job's declared purpose. */
export function checkPurpose(rules: OwnerRules, purpose: Purpose): Denial | null {
  if (rules.purposes.includes(purpose)) return null;
  return { code: "purpose_not_allowed", detail: `the owner of this node does not lend it for ${purpose}` };
}

/** Whether the owner's pause holds at a moment (UTC ms). One whose end has passed is over. */
export function isPaused(rules: OwnerRules, now_ms: number): boolean {
  return rules.pause !== null && (rules.pause.until_ms === null || now_ms < rules.pause.until_ms);
}

/** Check whether the owner lets any job start now. */
export function checkMoment(
  rules: OwnerRules,
  moment: Moment,
  usage: UsageToday,
  surroundings: Surroundings,
): Denial | null {
  const denial = checkTimeAndVolume(rules, moment, usage);
  if (denial !== null) return denial;
  const lack = lackOf(rules, surroundings);
  if (lack === "not_wifi") return { code: "paused", detail: "the owner lends this node on Wi-Fi only" };
  if (lack === "not_mains") return { code: "paused", detail: "the owner lends this node on mains power only" };
  return null;
}

/** How many jobs may be held now, and the reason where it is none. */
export function availableJobs(
  rules: OwnerRules,
  moment: Moment,
  usage: UsageToday,
  surroundings: Surroundings,
): Availability {
  const reason = checkTimeAndVolume(rules, moment, usage)?.code ?? lackOf(rules, surroundings);
  if (reason !== null) return { count: 0, reason };
  return { count: Math.min(rules.max_concurrent_jobs, LIMITS.NODE_CONCURRENT_JOBS), reason: "" };
}

function checkTimeAndVolume(rules: OwnerRules, moment: Moment, usage: UsageToday): Denial | null {
  if (isPaused(rules, moment.now_ms)) return { code: "paused", detail: "paused by the owner" };
  if (rules.hours.length > 0 && !rules.hours.some((hours) => covers(hours, moment.minute))) {
    return { code: "outside_schedule", detail: "outside the hours the owner set" };
  }
  if (rules.daily_jobs !== null && usage.jobs >= rules.daily_jobs) {
    return { code: "cap_reached", detail: "the owner's limit of jobs a day is reached" };
  }
  if (rules.daily_bytes !== null && usage.bytes >= rules.daily_bytes) {
    return { code: "cap_reached", detail: "the owner's limit of bytes a day is reached" };
  }
  return null;
}

function lackOf(rules: OwnerRules, surroundings: Surroundings): "not_wifi" | "not_mains" | null {
  if (rules.only_on_wifi && surroundings.connection === "other") return "not_wifi";
  if (rules.only_on_mains && surroundings.on_mains === false) return "not_mains";
  return null;
}
