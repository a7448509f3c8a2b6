import "./english_browser.ts";
import { describe, expect, test } from "vitest";
import { formats, type MessageKey, regionalTag, say, t, tCount } from "../../src/pages/text.ts";

const NOW = new Date(2027, 2, 10, 12);

test("words have what is put into them", () => {
  expect(t("popup_today_of", "1 MB", "2 MB")).toBe("1 MB of 2 MB");
});

test("a message that does not exist is a defect", () => {
  expect(() => t("no_such_message" as MessageKey)).toThrow(/no_such_message/);
});

test("what is counted takes the form of its number, and the number its separators", () => {
  expect([0, 1, 2, 1234].map((count) => tCount("popup_pages", count))).toEqual([
    "0 pages",
    "1 page",
    "2 pages",
    "1,234 pages",
  ]);
});

test("a phrase puts its facts into words", () => {
  expect(say({ key: "state_cap_bytes_reason", facts: [{ bytes: 5e8 }, { bytes: 1 }] }, NOW)).toMatch(
    /^You allow 500.MB a day, and 1 byte are used/,
  );
});

describe("numbers and times", () => {
  test("are written as where the owner lives, if that is the language of the words", () => {
    expect(formats.locale).toBe("en-GB");
  });

  test.each([
    ["en", ["de-AT", "en-NZ", "en-US"], "en-NZ"],
    ["en", ["de"], "en"],
    ["zh-CN", ["zh-TW", "zh-Hans-SG"], "zh-Hans-SG"],
    ["zh-CN", ["zh-TW"], "zh-CN"],
    ["id", ["not a tag", "", "id-ID"], "id-ID"],
  ])("words in %s for a reader of %j are written as %s", (words, languages, tag) => {
    expect(regionalTag(words, languages)).toBe(tag);
  });
});
