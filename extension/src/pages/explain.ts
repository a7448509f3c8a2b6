/** What the node is doing, and why: one headline, one reason and at most one thing to do for every state. */
import { isAccepted } from "../node/consent.ts";
import type { UsageToday } from "../node/journal.ts";
import { checkMoment, momentOf, type Surroundings } from "../node/owner_rules.ts";
import type { Hours, OwnerRules, OwnerState, Standing } from "../node/owner_state.ts";
import type { Fact } from "./format.ts";
import type { MessageKey, Phrase } from "./text.ts";

/** How a state is shown besides its words: pages add a sign and a colour, the badge a colour. */
export type Tone = "working" | "ready" | "waiting" | "resting" | "attention";

/** The pages a state may lead to; a part of the dashboard is named after the number sign. */
export type Destination =
  | "consent.html"
  | "dashboard.html#limits"
  | "dashboard.html#network"
  | "dashboard.html#purposes";

/** What the owner can do about a state: the words of a button, and what it does. */
export type Action =
  | { readonly label: MessageKey; readonly does: "permit" | "resume" | "update" }
  | { readonly label: MessageKey; readonly does: "open"; readonly page: Destination };

/** A state in words. `again_ms` is when it will change by itself, where that is known. */
export interface Explanation {
  readonly headline: Phrase;
  readonly reason: Phrase;
  readonly tone: Tone;
  readonly action: Action | null;
  readonly again_ms: number | null;
}

/** What only the node's worker is told of: nothing is held against it here. */
const ANYWHERE: Surroundings = { connection: "unknown", on_mains: null };

/**
 * Say what the node does at `now`. What the owner decided is read from the rules themselves, so a click shows at once;
 * the rest is what the node last said of itself. Of several reasons the one to be dealt with first is given. Where
 * `usage` is not at hand (null), the node's own word on the daily limits is taken.
 */
export function explain(state: OwnerState, usage: UsageToday | null, now: Date): Explanation {
  return (
    explainMayRun(state) ??
    explainPause(state.rules, now) ??
    explainIdle(state.standing, ["proxy"]) ??
    explainRules(state.rules, usage ?? { jobs: 0, bytes: 0 }, now) ??
    explainIdle(state.standing, usage === null ? ["cap_reached"] : []) ??
    explainIdle(state.standing, ["not_wifi", "not_mains", "storage", "results_waiting"]) ??
    explainConnection(state.standing, now)
  );
}

/** The next moment (UTC ms) at which one of the owner's spans of hours begins; null where there are none. */
export function nextStart(hours: readonly Hours[], now: Date): number | null {
  const starts = hours.flatMap(({ start }) =>
    [0, 1].map((days) => {
      const day = new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, 0, start);
      return day.getTime();
    }),
  );
  const later = starts.filter((start_ms) => start_ms > now.getTime());
  return later.length === 0 ? null : Math.min(...later);
}

/** The owner's next midnight (UTC ms), when limits a day begin anew. */
export function nextMidnight(now: Date): number {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1).getTime();
}

function explainMayRun(state: OwnerState): Explanation | null {
  if (!isAccepted(state.consent)) {
    return plain("state_no_consent", "attention", open("action_agree", "consent.html"));
  }
  switch (state.standing.state) {
    case "no_permission":
      return plain("state_no_permission", "attention", { label: "action_permit", does: "permit" });
    case "update_required":
      return plain("state_update_required", "attention", { label: "action_update", does: "update" });
    case "untrusted":
      return plain("state_untrusted", "attention", open("action_dispatcher", "dashboard.html#network"));
    default:
      return null;
  }
}

function explainPause({ pause }: OwnerRules, now: Date): Explanation | null {
  if (pause === null) return null;
  if (pause.until_ms === null) return plain("state_off", "resting", { label: "action_switch_on", does: "resume" });
  if (pause.until_ms <= now.getTime()) return null;
  const reason = phrase("state_paused_reason", { moment_ms: pause.until_ms });
  const action: Action = { label: "action_resume", does: "resume" };
  return { headline: phrase("state_paused"), reason, tone: "resting", action, again_ms: pause.until_ms };
}

function explainRules(rules: OwnerRules, usage: UsageToday, now: Date): Explanation | null {
  if (rules.purposes.length === 0) {
    return plain("state_no_purpose", "attention", open("action_purposes", "dashboard.html#purposes"));
  }
  const denial = checkMoment(rules, momentOf(now), usage, ANYWHERE);
  if (denial === null) return null;
  if (denial.code === "outside_schedule") {
    const again_ms = nextStart(rules.hours, now) ?? nextMidnight(now);
    return {
      headline: phrase("state_outside_hours"),
      reason: phrase("state_outside_hours_reason", { moment_ms: again_ms }),
      tone: "resting",
      action: open("action_schedule", "dashboard.html#limits"),
      again_ms,
    };
  }
  const by_bytes = rules.daily_bytes !== null && usage.bytes >= rules.daily_bytes;
  return {
    headline: phrase(by_bytes ? "state_cap_bytes" : "state_cap_jobs"),
    reason: by_bytes
      ? phrase("state_cap_bytes_reason", { bytes: rules.daily_bytes ?? 0 }, { bytes: usage.bytes })
      : phrase("state_cap_jobs_reason", { count: rules.daily_jobs ?? 0 }, { count: usage.jobs }),
    tone: "resting",
    action: open("action_limits", "dashboard.html#limits"),
    again_ms: nextMidnight(now),
  };
}

/** What only the node can know: its reason for taking no job, where it is one of those asked for. */
function explainIdle(standing: Standing, reasons: readonly string[]): Explanation | null {
  if (standing.available > 0 || !reasons.includes(standing.idle_reason)) return null;
  switch (standing.idle_reason) {
    case "proxy":
      return plain("state_proxy", "attention", null);
    case "cap_reached":
      return plain("state_cap", "resting", open("action_limits", "dashboard.html#limits"));
    case "not_wifi":
      return plain("state_not_wifi", "resting", open("action_surroundings", "dashboard.html#limits"));
    case "not_mains":
      return plain("state_not_mains", "resting", open("action_surroundings", "dashboard.html#limits"));
    case "storage":
      return plain("state_storage", "attention", null);
    default:
      return plain("state_results_waiting", "waiting", null);
  }
}

function explainConnection(standing: Standing, now: Date): Explanation {
  if (standing.state === "draining") return plain("state_draining", "waiting", null);
  if (standing.state !== "connected") return explainDialling(standing, now);
  if (standing.jobs_in_hand > 0) {
    const headline: Phrase = { counted: "state_working", count: standing.jobs_in_hand, facts: [] };
    return { headline, reason: phrase("state_working_reason"), tone: "working", action: null, again_ms: null };
  }
  const own_reasons = ["", "paused", "outside_schedule", "cap_reached", "busy"];
  if (standing.available === 0 && !own_reasons.includes(standing.idle_reason)) {
    const reason = phrase("state_idle_reason", { text: standing.idle_reason });
    return { headline: phrase("state_idle"), reason, tone: "waiting", action: null, again_ms: null };
  }
  return plain("state_waiting", "ready", null);
}

function explainDialling(standing: Standing, now: Date): Explanation {
  const dial_ms = standing.dial_ms !== null && standing.dial_ms > now.getTime() ? standing.dial_ms : null;
  const trouble: Fact[] = standing.trouble === "" ? [] : [{ text: standing.trouble.replace(/[.\s]+$/, "") }];
  const when: Fact[] = dial_ms === null ? [] : [{ ago_ms: dial_ms }];
  const key: MessageKey =
    dial_ms === null
      ? trouble.length === 0
        ? "state_connecting_reason"
        : "state_connecting_trouble"
      : trouble.length === 0
        ? "state_connecting_next"
        : "state_connecting_trouble_next";
  return {
    headline: phrase("state_connecting"),
    reason: { key, facts: [...trouble, ...when] },
    tone: "waiting",
    action: null,
    again_ms: dial_ms,
  };
}

function phrase(key: MessageKey, ...facts: readonly Fact[]): Phrase {
  return { key, facts };
}

type PlainState = MessageKey extends infer Key ? (Key extends `${infer Stem}_reason` ? Stem : never) : never;

/** A state whose reason is the message `KEY_reason` and needs no facts. */
function plain(key: PlainState & MessageKey, tone: Tone, action: Action | null): Explanation {
  return { headline: phrase(key), reason: phrase(`${key}_reason`), tone, action, again_ms: null };
}

function open(label: MessageKey, page: Destination): Action {
  return { label, does: "open", page };
}
