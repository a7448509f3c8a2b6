import "./english_browser.ts";
import { describe, expect, test } from "vitest";
import { TERMS_VERSION } from "../../src/node/consent.ts";
import type { UsageToday } from "../../src/node/journal.ts";
import {
  INITIAL_RULES,
  INITIAL_STANDING,
  INITIAL_STATE,
  type OwnerRules,
  type OwnerState,
  type Standing,
} from "../../src/node/owner_state.ts";
import { badgeFor, COLOURS } from "../../src/pages/badge.ts";
import { explain, nextMidnight, nextStart, type Tone } from "../../src/pages/explain.ts";
import { say } from "../../src/pages/text.ts";
import { contrast } from "./contrast.ts";

/** A Wednesday, noon, by the clock of the place where the test runs. */
const NOW = new Date(2027, 2, 10, 12, 0);
const IDLE: UsageToday = { jobs: 0, bytes: 0 };

interface Change {
  readonly rules?: Partial<OwnerRules>;
  readonly standing?: Partial<Standing>;
}

function stateWith({ rules = {}, standing = {} }: Change = {}): OwnerState {
  return {
    ...INITIAL_STATE,
    consent: { version: TERMS_VERSION, accepted_ms: 1 },
    rules: { ...INITIAL_RULES, ...rules },
    standing: { ...INITIAL_STANDING, state: "connected", available: 4, ...standing },
  };
}

function told(state: OwnerState, usage: UsageToday | null = IDLE): [string, string, Tone, string | undefined] {
  const { headline, reason, tone, action } = explain(state, usage, NOW);
  return [say(headline, NOW), say(reason, NOW).replace(/[\u2068\u2069]/g, ""), tone, action?.label];
}

const at = (hour: number, day = 10): number => new Date(2027, 2, day, hour).getTime();

describe("every state has its headline, its reason and what to do", () => {
  const cases: readonly (readonly [string, OwnerState, string, RegExp, Tone, string | undefined])[] = [
    ["no consent", { ...stateWith(), consent: null }, "Not started", /said yes/, "attention", "action_agree"],
    [
      "consent to older terms",
      { ...stateWith(), consent: { version: TERMS_VERSION - 1, accepted_ms: 1 } },
      "Not started",
      /said yes/,
      "attention",
      "action_agree",
    ],
    [
      "no permission",
      stateWith({ standing: { state: "no_permission" } }),
      "Waiting for your permission",
      /taken back/,
      "attention",
      "action_permit",
    ],
    [
      "update required",
      stateWith({ standing: { state: "update_required" } }),
      "An update is needed",
      /newer version/,
      "attention",
      "action_update",
    ],
    [
      "another key",
      stateWith({ standing: { state: "untrusted" } }),
      "Stopped: the dispatcher has another key",
      /impostor/,
      "attention",
      "action_dispatcher",
    ],
    ["off", stateWith({ rules: { pause: { until_ms: null } } }), "Off", /switched/, "resting", "action_switch_on"],
    [
      "paused",
      stateWith({ rules: { pause: { until_ms: at(13) } } }),
      "Paused",
      /1:00|13:00/,
      "resting",
      "action_resume",
    ],
    [
      "proxy",
      stateWith({ standing: { available: 0, idle_reason: "proxy" } }),
      "Proxy detected",
      /goes through a proxy/,
      "attention",
      undefined,
    ],
    [
      "no purpose",
      stateWith({ rules: { purposes: [] } }),
      "No purpose is allowed",
      /every purpose/,
      "attention",
      "action_purposes",
    ],
    [
      "outside the hours",
      stateWith({ rules: { hours: [{ start: 1320, end: 420 }] } }),
      "Outside your hours",
      /10:00\spm|22:00/i,
      "resting",
      "action_schedule",
    ],
    [
      "not on Wi-Fi",
      stateWith({ standing: { available: 0, idle_reason: "not_wifi" } }),
      "Waiting for Wi-Fi",
      /another connection/,
      "resting",
      "action_surroundings",
    ],
    [
      "not on mains",
      stateWith({ standing: { available: 0, idle_reason: "not_mains" } }),
      "Waiting for the charger",
      /battery/,
      "resting",
      "action_surroundings",
    ],
    [
      "results waiting",
      stateWith({ standing: { available: 0, idle_reason: "results_waiting" } }),
      "Results are waiting",
      /kept here/,
      "waiting",
      undefined,
    ],
    [
      "disk full",
      stateWith({ standing: { available: 0, idle_reason: "storage" } }),
      "No room to save results",
      /Free some room/,
      "attention",
      undefined,
    ],
    [
      "draining",
      stateWith({ standing: { state: "draining" } }),
      "The dispatcher takes a break",
      /by itself/,
      "waiting",
      undefined,
    ],
    [
      "connecting",
      stateWith({ standing: { state: "connecting" } }),
      "Connecting",
      /calling the dispatcher/,
      "waiting",
      undefined,
    ],
    [
      "between two tries, with the reason and the next try",
      stateWith({ standing: { state: "connecting", trouble: "it hung up.", dial_ms: NOW.getTime() + 12_000 } }),
      "Connecting",
      /work: it hung up\. Next try: in 12 seconds\.$/,
      "waiting",
      undefined,
    ],
    [
      "a try whose time has come is not announced as the next",
      stateWith({ standing: { state: "connecting", trouble: "it hung up", dial_ms: NOW.getTime() } }),
      "Connecting",
      /work: it hung up\.$/,
      "waiting",
      undefined,
    ],
    [
      "a next try without a reason",
      stateWith({ standing: { state: "connecting", dial_ms: NOW.getTime() + 60_000 } }),
      "Connecting",
      /Next try: in 1 minute\.$/,
      "waiting",
      undefined,
    ],
    ["one page", stateWith({ standing: { jobs_in_hand: 1 } }), "Fetching 1 page", /your log/, "working", undefined],
    ["pages", stateWith({ standing: { jobs_in_hand: 3 } }), "Fetching 3 pages", /your log/, "working", undefined],
    ["nothing to do", stateWith(), "Ready, waiting for work", /fits your rules/, "ready", undefined],
    [
      "a reason without a headline of its own",
      stateWith({ standing: { available: 0, idle_reason: "stopping" } }),
      "Taking no pages right now",
      /stopping/,
      "waiting",
      undefined,
    ],
  ];

  test.each(cases)("%s", (_, state, headline, reason, tone, action) => {
    const [said, why, how, label] = told(state);
    expect(said).toBe(headline);
    expect(why).toMatch(reason);
    expect([how, label]).toEqual([tone, action]);
  });
});

describe("limits a day", () => {
  test("name what is allowed and what was used", () => {
    const [headline, reason] = told(stateWith(), { jobs: 9, bytes: 501_000_000 });
    expect(headline).toBe("Today's data is used up");
    expect(reason).toMatch(/^You allow 500.MB a day, and 501.MB are used\./);
  });

  test("of pages count pages", () => {
    const [headline, reason] = told(stateWith({ rules: { daily_jobs: 1_000 } }), { jobs: 1_000, bytes: 1 });
    expect(headline).toBe("Today's pages are done");
    expect(reason).toMatch(/1,000 pages a day, and 1,000 were/);
  });

  test("are the node's own word where the use is not at hand", () => {
    const state = stateWith({ standing: { available: 0, idle_reason: "cap_reached" } });
    expect(told(state, null)[0]).toBe("Today's limit is reached");
  });

  test("end at the owner's midnight", () => {
    expect(explain(stateWith(), { jobs: 1, bytes: 500_000_000 }, NOW).again_ms).toBe(at(0, 11));
    expect(nextMidnight(new Date(2027, 11, 31, 23, 59))).toBe(new Date(2028, 0, 1).getTime());
  });
});

describe("of several reasons the one to be dealt with first is told", () => {
  const everything: Change = {
    rules: { pause: { until_ms: at(13) }, purposes: [], hours: [{ start: 0, end: 60 }] },
    standing: { state: "no_permission", available: 0, idle_reason: "proxy" },
  };

  test("in this order", () => {
    const full = { jobs: 0, bytes: 500_000_000 };
    const removed: readonly ((state: OwnerState) => OwnerState)[] = [
      (state) => ({ ...state, consent: null }),
      (state) => ({ ...state, consent: { version: TERMS_VERSION, accepted_ms: 1 } }),
      (state) => ({ ...state, standing: { ...state.standing, state: "connecting" } }),
      (state) => ({ ...state, rules: { ...state.rules, pause: { until_ms: NOW.getTime() } } }),
      (state) => ({ ...state, standing: { ...state.standing, idle_reason: "not_wifi" } }),
      (state) => ({ ...state, rules: { ...state.rules, purposes: ["rag"] } }),
      (state) => ({ ...state, rules: { ...state.rules, hours: [] } }),
      (state) => ({ ...state, rules: { ...state.rules, daily_bytes: null } }),
      (state) => ({ ...state, standing: { ...state.standing, idle_reason: "" } }),
    ];
    let state = stateWith(everything);
    const headlines = removed.map((remove) => {
      state = remove(state);
      return told(state, full)[0];
    });
    expect(headlines).toEqual([
      "Not started",
      "Waiting for your permission",
      "Paused",
      "Proxy detected",
      "No purpose is allowed",
      "Outside your hours",
      "Today's data is used up",
      "Waiting for Wi-Fi",
      "Connecting",
    ]);
  });

  test("a pause that has ended is none", () => {
    expect(told(stateWith({ rules: { pause: { until_ms: NOW.getTime() } } }))[0]).toBe("Ready, waiting for work");
  });

  test("a reason from before a disconnection does not hide that jobs are taken", () => {
    expect(told(stateWith({ standing: { available: 4, idle_reason: "proxy" } }))[0]).toBe("Ready, waiting for work");
  });
});

describe("the next start", () => {
  const hours = (start: number, end: number): { start: number; end: number } => ({ start, end });

  test.each([
    ["later today", [hours(13 * 60, 14 * 60)], at(13)],
    ["tomorrow", [hours(8 * 60, 9 * 60)], at(8, 11)],
    ["the nearest of several", [hours(8 * 60, 9 * 60), hours(22 * 60, 60), hours(18 * 60, 19 * 60)], at(18)],
    ["not the present minute", [hours(12 * 60, 12 * 60 + 1)], at(12, 11)],
  ])("is %s", (_, spans, expected) => {
    expect(nextStart(spans, NOW)).toBe(expected);
  });

  test("is unknown without hours", () => {
    expect(nextStart([], NOW)).toBeNull();
  });
});

describe("the badge", () => {
  test.each([
    ["!", { ...stateWith(), consent: null }],
    ["!", stateWith({ standing: { state: "update_required" } })],
    ["!", stateWith({ standing: { available: 0, idle_reason: "proxy" } })],
    ["off", stateWith({ rules: { pause: { until_ms: null } } })],
    ["II", stateWith({ rules: { pause: { until_ms: at(13) } } })],
    ["II", stateWith({ standing: { available: 0, idle_reason: "cap_reached" } })],
    ["…", stateWith({ standing: { state: "connecting" } })],
    ["", stateWith()],
    ["12", stateWith({ standing: { jobs_in_hand: 12 } })],
  ])("is %j", (text, state) => {
    expect(badgeFor(state, NOW).text).toBe(text);
  });

  test("says the state and its reason in words", () => {
    expect(badgeFor(stateWith({ rules: { pause: { until_ms: null } } }), NOW).title).toBe(
      "Meadow: Off. You switched Meadow off. No page is fetched until you switch it on.",
    );
  });

  test.each(Object.entries(COLOURS))("can be read in white on the colour of %s", (_, colour) => {
    expect(contrast("#ffffff", colour)).toBeGreaterThanOrEqual(4.5);
  });
});
