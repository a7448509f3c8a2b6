/// <reference types="vite/client" />
import { describe, expect, test } from "vitest";
import {
  LEAST_MEGABYTES,
  nearestStep,
  readMegabytes,
  STEPS,
  videoMinutes,
} from "../../src/pages/consent/data_steps.ts";
import { inOneHour, tomorrowMorning } from "../../src/pages/popup/pauses.ts";
import { siteOf } from "../../src/pages/site.ts";
import { rewardOf, TARIFF } from "../../src/pages/tariff.ts";

const [published = ""] = Object.values(
  import.meta.glob<string>("../../../provenance/tariff.py", { query: "?raw", import: "default", eager: true }),
);

describe("the daily limit of data", () => {
  test.each([
    ["500", 500],
    [" 750 ", 750],
    ["10", LEAST_MEGABYTES],
    ["1000000", 1_000_000],
    ["9", null],
    ["1000001", null],
    ["", null],
    ["1.5", null],
    ["-5", null],
    ["1e3", null],
    ["٥٠٠", null],
  ])("%j reads as %j", (text, megabytes) => {
    expect(readMegabytes(text)).toBe(megabytes);
  });

  test("goes to the slider's nearest stop, and every stop to itself", () => {
    expect(STEPS.map((step) => nearestStep(step))).toEqual(STEPS.map((_, place) => place));
    expect(STEPS[nearestStep(1)]).toBe(50);
    expect(STEPS[nearestStep(800)]).toBe(1_000);
    expect(STEPS[nearestStep(1_000_000)]).toBe(20_000);
  });

  test("is told in minutes of video, at least one", () => {
    expect([10, 500, 3_000].map(videoMinutes)).toEqual([1, 10, 60]);
  });
});

describe("pauses", () => {
  const evening = new Date(2027, 2, 10, 23, 50);

  test("of an hour are an hour", () => {
    expect(inOneHour(evening) - evening.getTime()).toBe(3_600_000);
  });

  test("until tomorrow end in the morning of the next day of the calendar, also just before midnight", () => {
    expect(tomorrowMorning(evening)).toBe(new Date(2027, 2, 11, 8).getTime());
    expect(tomorrowMorning(new Date(2027, 11, 31, 0, 1))).toBe(new Date(2028, 0, 1, 8).getTime());
  });
});

test.each([
  ["www.example.org", "example.org"],
  ["example.org", "example.org"],
  ["www2.example.org", "www2.example.org"],
  ["www.com", "www.com"],
  ["shop.www.example.org", "shop.www.example.org"],
  ["93.184.216.34", "93.184.216.34"],
])("never %s blocks %s", (host, site) => {
  expect(siteOf(host)).toBe(site);
});

describe("the tariff", () => {
  test("is the published one", () => {
    expect(published).toContain(`TARIFF = "${TARIFF.version}"`);
    expect(published).toContain(`"direct": ${TARIFF.page_units},`);
    expect(published).toContain(`KIB_UNITS = ${TARIFF.kib_units}\n`);
  });

  test.each([
    [0, 400],
    [1, 404],
    [1024, 404],
    [1025, 408],
    [102_400, 800],
  ])("a page of %d bytes earns %d", (bytes, units) => {
    expect(rewardOf(bytes)).toBe(units);
  });
});
