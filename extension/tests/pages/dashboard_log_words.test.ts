/// <reference types="vite/client" />
import "./english_browser.ts";

import { describe, expect, test } from "vitest";
import schema from "../../schema/meadow-v1.json";
import type { Outcome } from "../../src/node/journal.ts";
import { outcomeWords, purposeWords, reasonWords } from "../../src/pages/dashboard/log_words.ts";
import { ENGLISH } from "./english_browser.ts";

const CODES = [...schema.$defs.RefusalCode.enum, ...schema.$defs.FailureCode.enum];
const PURPOSES = schema.$defs.Job.properties.purpose.enum;
const SETTLED: readonly Outcome[] = [
  "fetching",
  "sent",
  "interrupted",
  "stored",
  "duplicate",
  "stale",
  "rejected",
  "cancelled",
];
const PROGRAM = import.meta.glob<string>("../../src/pages/**/*.{ts,html}", {
  query: "?raw",
  import: "default",
  eager: true,
});

describe("reasons", () => {
  test.each(CODES)("%s of the protocol is a sentence", (code) => {
    expect(reasonWords(code)).toMatch(/^[A-Z].*[a-z].*\.$/);
    expect(reasonWords(code)).not.toMatch(/_|\u2068/);
  });

  test("each says something of its own", () => {
    expect(new Set(CODES.map(reasonWords)).size).toBe(CODES.length);
  });

  test("a code of a later version is shown as it came, without power over the words around it", () => {
    expect(reasonWords("brand_new")).toBe("\u2068brand_new\u2069");
    expect(reasonWords("\u202egnp.exe\u0007")).toBe("\u2068gnp.exe\u2069");
    expect(reasonWords("constructor")).toBe("\u2068constructor\u2069");
  });
});

describe("outcomes", () => {
  test.each(SETTLED)("%s is explained", (outcome) => {
    expect(outcomeWords({ outcome, reason: "", detail: "" })).toMatch(/^[A-Z].*\.$/);
  });

  test.each(["failed", "refused"] as const)("%s gives the reason of its code, not the technical detail", (outcome) => {
    const words = outcomeWords({ outcome, reason: "timeout", detail: "<img src=x>" });
    expect(words).toBe(reasonWords("timeout"));
  });

  test("a result that a site wants asked for later has a reason", () => {
    expect(outcomeWords({ outcome: "noted", reason: "noted", detail: "" })).toMatch(/come back later/);
  });

  test("a rejection quotes the dispatcher, isolated", () => {
    const words = outcomeWords({ outcome: "rejected", reason: "rejected", detail: "no\u202ehash" });
    expect(words).toContain("\u2068no hash\u2069");
    expect(words).toMatch(/earns nothing/);
  });
});

describe("purposes", () => {
  test.each(PURPOSES)("%s has a name for people", (purpose) => {
    expect(purposeWords(purpose)).toMatch(/^[A-Z][A-Za-z ]+$/);
  });

  test("an unknown one is shown as it came", () => {
    expect(purposeWords("surveil")).toBe("\u2068surveil\u2069");
  });
});

test("every word of the dashboard is used", () => {
  const program = Object.values(PROGRAM).join("\n");
  const families = [...program.matchAll(/`(dashboard_\w+_)\$\{/g)].map((match) => match[1] ?? "");
  const isUsed = (key: string): boolean =>
    program.includes(`"${key}"`) ||
    program.includes(`"${key.replace(/_(?:one|other)$/, "")}"`) ||
    families.some((family) => key.startsWith(family));
  const keys = Object.keys(ENGLISH).filter((key) => key.startsWith("dashboard_"));
  expect(families.sort()).toEqual(["dashboard_hours_", "dashboard_why_"]);
  expect(keys.filter((key) => !isUsed(key))).toEqual([]);
});
