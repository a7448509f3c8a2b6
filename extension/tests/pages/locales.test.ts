/// <reference types="vite/client" />
import { describe, expect, test } from "vitest";
import { ENGLISH, type Messages } from "./english_browser.ts";

const LOCALES = import.meta.glob<Messages>("../../_locales/*/messages.json", { import: "default", eager: true });
const KEYS = Object.keys(ENGLISH);

/** The stores' limit for the description. */
const DESCRIPTION_MOST = 132;
/** What the toolbar icon has room for. */
const BADGE_MOST = 3;
/** Words in narrow places may be this much wider than in English; the shortest may be a long word all the same. */
const WIDER_MOST = 2.2;
const LONG_WORD = 18;
/** In the popup, which is 320 px wide, there is less room. */
const LONG_WORD_IN_POPUP = 12;

/** Descriptions of words that stand in buttons, labels and other narrow places, and that are seen, not only heard. */
const NARROW = /^(?:(?:A|The) (?:button|link|mark|switch|choice)|Label\b|Name of a section|Head of a column)/;
const ONLY_HEARD = /for screen readers/;

/** Han, kana, Hangul and full-width forms: twice as wide as a Latin letter. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/;

function widthOf(words: string): number {
  return [...words].reduce((sum, character) => sum + (WIDE.test(character) ? 2 : 1), 0);
}

/** Every placeholder as often as it is used. */
function usesOf(words: string): string[] {
  return (words.match(/\$\w+\$/g) ?? []).sort();
}

function contentsOf(messages: Messages, key: string): { [name: string]: string } {
  const declared = Object.entries(messages[key]?.placeholders ?? {});
  return Object.fromEntries(declared.map(([name, { content }]) => [name, content]));
}

function isNarrow(key: string): boolean {
  const description = ENGLISH[key]?.description ?? "";
  return NARROW.test(description) && !ONLY_HEARD.test(description);
}

describe.each(Object.entries(LOCALES))("%s", (path, words) => {
  const textOf = (key: string): string => words[key]?.message ?? "";

  test("has the keys of English, in its order", () => {
    expect(Object.keys(words)).toEqual(KEYS);
  });

  test("declares the placeholders of English, and uses each as often", () => {
    for (const key of KEYS) {
      expect([key, contentsOf(words, key)]).toEqual([key, contentsOf(ENGLISH, key)]);
      expect([key, usesOf(textOf(key))]).toEqual([key, usesOf(ENGLISH[key]?.message ?? "")]);
    }
  });

  test("holds no dollar sign that is no placeholder's", () => {
    expect(
      KEYS.filter((key) =>
        textOf(key)
          .replace(/\$\w+\$/g, "")
          .includes("$"),
      ),
    ).toEqual([]);
  });

  test("leaves nothing empty, and no space at an end or doubled", () => {
    expect(KEYS.filter((key) => textOf(key) === "" || /^\s|\s$|\s\s/.test(textOf(key)))).toEqual([]);
  });

  test("names its language as its folder does, and a direction", () => {
    const folder = /_locales\/(\w+)\/messages\.json$/.exec(path)?.[1];
    const tag = textOf("language_tag");
    expect(Intl.getCanonicalLocales(tag)).toEqual([tag]);
    expect(tag).toBe(folder?.replaceAll("_", "-"));
    expect(["ltr", "rtl"]).toContain(textOf("language_direction"));
  });

  test("keeps the extension's name, and a description that fits into the stores", () => {
    expect(textOf("extension_name")).toBe(ENGLISH["extension_name"]?.message);
    expect(textOf("extension_description").length).toBeLessThanOrEqual(DESCRIPTION_MOST);
  });

  test("keeps the badge short", () => {
    expect(widthOf(textOf("badge_off"))).toBeLessThanOrEqual(BADGE_MOST);
  });

  test("keeps the words of buttons and labels short", () => {
    const tooWide = KEYS.filter(isNarrow).filter((key) => {
      const long_word = key.startsWith("popup_") ? LONG_WORD_IN_POPUP : LONG_WORD;
      return widthOf(textOf(key)) > Math.max(long_word, WIDER_MOST * widthOf(ENGLISH[key]?.message ?? ""));
    });
    expect(tooWide.map((key) => `${key}: ${textOf(key)}`)).toEqual([]);
  });

  test("names a button to screen readers with the words that it shows (WCAG 2.2, 2.5.3)", () => {
    const labelled = KEYS.filter((key) => key.endsWith("_label")).map(
      (key) => [key.replace(/_label$/, ""), key] as const,
    );
    for (const [key, label] of labelled.filter(([shown]) => KEYS.includes(shown))) {
      expect(textOf(label).toLowerCase()).toContain(textOf(key).toLowerCase());
    }
  });
});

test("the rule for narrow places reaches buttons and labels, in full-width script too", () => {
  expect(["consent_accept", "popup_undo", "consent_data_label", "dashboard_wallet"].map(isNarrow)).toEqual(
    Array(4).fill(true),
  );
  expect(["popup_undo_label", "consent_lead"].map(isNarrow)).toEqual([false, false]);
  expect([widthOf("Wi-Fi"), widthOf("关闭。")]).toEqual([5, 6]);
});
