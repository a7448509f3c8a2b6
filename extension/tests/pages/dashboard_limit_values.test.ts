import { describe, expect, test } from "vitest";
import { availableJobs, momentOf } from "../../src/node/owner_rules.ts";
import { type Hours, INITIAL_RULES } from "../../src/node/owner_state.ts";
import {
  coveredMinutes,
  MINUTES_A_DAY,
  minuteText,
  readMinute,
  readWhole,
  spanKind,
} from "../../src/pages/dashboard/limit_values.ts";

describe("a whole number", () => {
  test.each([
    ["1", 1],
    [" 64 ", 64],
    ["007", 7],
  ])("%j is %i", (text, value) => {
    expect(readWhole(text, 1, 64)).toBe(value);
  });

  test.each(["", " ", "0", "65", "-1", "+1", "1.5", "1e3", "1,000", "abc", "0x10", "１", "9".repeat(30)])(
    "%j is none from 1 to 64",
    (text) => {
      expect(readWhole(text, 1, 64)).toBeUndefined();
    },
  );
});

describe("a time of day", () => {
  test.each([
    ["00:00", 0],
    ["09:05", 545],
    ["23:59", 1439],
    ["22:00:00", 1320],
  ])("%s is minute %i", (text, minute) => {
    expect(readMinute(text)).toBe(minute);
  });

  test.each(["", "24:00", "9:00", "12:60", "noon"])("%j is none", (text) => {
    expect(readMinute(text)).toBeUndefined();
  });

  test("read and written is the same, for every minute", () => {
    for (let minute = 0; minute < MINUTES_A_DAY; minute += 1) expect(readMinute(minuteText(minute))).toBe(minute);
  });
});

describe("a span of hours", () => {
  test.each([
    [{ start: 540, end: 1020 }, "same_day"],
    [{ start: 1080, end: 0 }, "until_midnight"],
    [{ start: 1320, end: 420 }, "past_midnight"],
    [{ start: 60, end: 60 }, "all_day"],
    [{ start: 0, end: 0 }, "all_day"],
  ] as const)("%j is %s", (span, kind) => {
    expect(spanKind(span)).toBe(kind);
  });

  test.each([
    [[], 0],
    [[{ start: 1320, end: 420 }], 540],
    [
      [
        { start: 0, end: 60 },
        { start: 30, end: 90 },
      ],
      90,
    ],
    [[{ start: 600, end: 600 }], MINUTES_A_DAY],
    [[{ start: 1080, end: 0 }], 360],
  ] satisfies [Hours[], number][])("%j together are %i minutes", (spans, minutes) => {
    expect(coveredMinutes(spans)).toBe(minutes);
  });

  test("is counted as the node keeps it", () => {
    const spans: Hours[] = [
      { start: 1320, end: 420 },
      { start: 720, end: 780 },
    ];
    const rules = { ...INITIAL_RULES, hours: spans };
    const surroundings = { connection: "unknown", on_mains: null } as const;
    let worked = 0;
    for (let minute = 0; minute < MINUTES_A_DAY; minute += 1) {
      const moment = { ...momentOf(new Date(2026, 0, 15)), minute };
      if (availableJobs(rules, moment, { jobs: 0, bytes: 0 }, surroundings).count > 0) worked += 1;
    }
    expect(coveredMinutes(spans)).toBe(worked);
  });
});
