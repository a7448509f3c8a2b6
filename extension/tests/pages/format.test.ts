import { describe, expect, test } from "vitest";
import { Formats, isolate } from "../../src/pages/format.ts";

const english = new Formats("en-US", "UTC");
const NOW = new Date("2027-03-10T12:00:00Z");
const at = (text: string): number => Date.parse(text);
/** Narrow spaces differ between versions of the language data. */
const plain = (text: string): string => text.replace(/[\u00a0\u202f]/g, " ");

describe("sizes", () => {
  test.each([
    [0, "0 bytes"],
    [1, "1 byte"],
    [999, "999 bytes"],
    [1_000, "1 kB"],
    [1_234, "1.2 kB"],
    [99_940, "99.9 kB"],
    [99_960, "100 kB"],
    [999_400, "999 kB"],
    [999_600, "1 MB"],
    [500_000_000, "500 MB"],
    [15_500_000_000, "15.5 GB"],
    [2_000_000_000_000_000, "2,000 TB"],
  ])("%d bytes is %s", (value, words) => {
    expect(plain(english.bytes(value))).toBe(words);
  });

  test("follow the language", () => {
    expect(plain(new Formats("es", "UTC").bytes(1_234_000))).toBe("1,2 MB");
  });
});

describe("tokens", () => {
  test.each([
    [0, "0.00"],
    [1, "0.000001"],
    [400, "0.0004"],
    [1_500_000, "1.50"],
    [9_007_199_254_740_991, "9,007,199,254.740991"],
  ])("%d base units is %s, exactly", (units, words) => {
    expect(english.tokens(units)).toBe(words);
  });

  test.each([
    [0, "0"],
    [400, "0.0004"],
    [5_116, "0.0051"],
    [1_999_999, "1.9999"],
    [301_229_999, "301.22"],
    [9_007_199_254_740_991, "9,007,100,000"],
  ])("%d base units is briefly %s, never more than it is", (units, words) => {
    expect(english.tokensBriefly(units)).toBe(words);
  });
});

test("a share is rounded down: all of it is all of it", () => {
  expect([0, 0.299, 0.9999, 1].map((share) => english.percent(share))).toEqual(["0%", "29%", "99%", "100%"]);
});

describe("moments", () => {
  test.each([
    ["2027-03-10T23:59:00Z", "11:59 PM"],
    ["2027-03-10T00:00:00Z", "12:00 AM"],
    ["2027-03-11T08:00:00Z", "Thursday 8:00 AM"],
    ["2027-03-09T23:00:00Z", "Tuesday 11:00 PM"],
    ["2027-03-17T12:00:00Z", "Mar 17, 2027, 12:00 PM"],
  ])("%s is %s", (moment, words) => {
    expect(plain(english.moment(at(moment), NOW))).toBe(words);
  });

  test.each([
    [-3 * 60_000, "3 minutes ago"],
    [-59_999, "59 seconds ago"],
    [12_000, "in 12 seconds"],
    [-3_600_000, "1 hour ago"],
    [-26 * 3_600_000, "yesterday"],
    [0, "now"],
  ])("%d ms away is %s", (apart, words) => {
    expect(english.relative(NOW.getTime() + apart, NOW)).toBe(words);
  });

  test("are short where asked", () => {
    expect(english.relative(NOW.getTime() - 180_000, NOW, "short")).toBe("3 min. ago");
  });
});

describe("foreign text", () => {
  test("stays within marks of isolation, without control or direction characters of its own", () => {
    expect(isolate("a\u202eb\u2069c\u0000\nd\u2028e\u061cf")).toBe("\u2068a b c d e f\u2069");
  });

  test("is cut at 300 characters, never through one", () => {
    const long = isolate("😀".repeat(400));
    expect([...long]).toHaveLength(302);
    expect(encodeURIComponent(long)).not.toBe("");
    expect(long.at(-2)).toBe("…");
  });

  test("is isolated wherever it is a fact", () => {
    expect(english.fact({ text: "\u202eevil" }, NOW)).toBe("\u2068evil\u2069");
  });
});
