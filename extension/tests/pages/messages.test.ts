/// <reference types="vite/client" />
import { describe, expect, test } from "vitest";
import { ENGLISH, type Messages } from "./english_browser.ts";

const PAGES = import.meta.glob<string>("../../src/pages/*/*.html", { query: "?raw", import: "default", eager: true });
const PROGRAM = import.meta.glob<string>(["../../src/**/*.ts", "../../src/**/*.html", "../../manifest.mjs"], {
  query: "?raw",
  import: "default",
  eager: true,
});
const LOCALES = import.meta.glob<Messages>("../../_locales/{es,id,zh_CN}/messages.json", {
  import: "default",
  eager: true,
});

/** Stems whose messages are named when the program runs: `outcome_` and a LogEntry's outcome, and the like. */
const FAMILIES = /^outcome_|^dashboard_/;

function placeholdersOf(messages: Messages, key: string): string[] {
  return [...new Set((messages[key]?.message ?? "").match(/\$\w+\$/g) ?? [])].sort();
}

describe("the words in English", () => {
  test.each(Object.entries(ENGLISH))("%s is explained to translators, and its placeholders are declared", (key, it) => {
    expect(it.message).not.toBe("");
    expect(it.description ?? "").not.toBe("");
    const declared = Object.entries(it.placeholders ?? {});
    for (const name of placeholdersOf(ENGLISH, key)) expect(declared.map(([each]) => `$${each}$`)).toContain(name);
    expect(declared.map(([, { content }]) => content)).toEqual(declared.map((_, place) => `$${place + 1}`));
    for (const [, { example }] of declared) expect(example ?? "").not.toBe("");
  });

  test("the description fits into the stores", () => {
    const { extension_description } = ENGLISH;
    expect(extension_description?.message.length).toBeLessThanOrEqual(132);
  });

  test("what is counted has its two English forms", () => {
    const stems = Object.keys(ENGLISH).flatMap((key) => /^(.+)_(?:one|other)$/.exec(key)?.[1] ?? []);
    for (const stem of stems) {
      expect(Object.keys(ENGLISH)).toContain(`${stem}_one`);
      expect(Object.keys(ENGLISH)).toContain(`${stem}_other`);
    }
  });

  test("every message is used", () => {
    const program = Object.values(PROGRAM).join("\n");
    const isUsed = (key: string): boolean => {
      const stem = key.replace(/_(?:reason|one|other)$/, "");
      const names = [`"${key}"`, `"${stem}"`, `__MSG_${key}__`];
      return FAMILIES.test(key) || names.some((name) => program.includes(name));
    };
    expect(Object.keys(ENGLISH).filter((key) => !isUsed(key))).toEqual([]);
  });
});

describe.each(Object.entries(PAGES))("%s", (_, page) => {
  test("names only messages that exist", () => {
    const keys = [...page.matchAll(/data-(?:text|label|hint)="([^"]*)"/g)].map((match) => match[1] ?? "");
    expect(keys.filter((key) => !(key in ENGLISH))).toEqual([]);
  });

  test("holds no words but those of English, which are replaced when it opens", () => {
    const named = [...page.matchAll(/data-text="([^"]*)"[^>]*>([^<]+)</g)];
    for (const [, key = "", words = ""] of named) expect(words.trim()).toBe(ENGLISH[key]?.message);
  });

  test("carries neither styles nor scripts of its own, which the policy would not run", () => {
    expect(page).not.toMatch(/\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)/);
  });
});

describe.each(Object.entries(LOCALES))("the words in %s", (_, words) => {
  test("are as many, with the same placeholders", () => {
    expect(Object.keys(words).sort()).toEqual(Object.keys(ENGLISH).sort());
    for (const key of Object.keys(ENGLISH)) {
      expect([key, placeholdersOf(words, key)]).toEqual([key, placeholdersOf(ENGLISH, key)]);
      expect([key, words[key]?.placeholders ?? {}]).toMatchObject([key, declaredIn(ENGLISH, key)]);
    }
  });
});

function declaredIn(messages: Messages, key: string): { [name: string]: { content: string } } {
  const declared = Object.entries(messages[key]?.placeholders ?? {});
  return Object.fromEntries(declared.map(([name, { content }]) => [name, { content }]));
}
