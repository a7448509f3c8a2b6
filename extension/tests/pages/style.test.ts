import { describe, expect, test } from "vitest";
import { contrast } from "./contrast.ts";

/** The part of Node's file system that is used: the test runner itself gives style sheets as empty. */
interface FileSystem {
  readdirSync(folder: URL, options: { recursive: true }): string[];
  readFileSync(path: URL, encoding: "utf8"): string;
}

const FILE_SYSTEM: string = "node:fs";
const { readdirSync, readFileSync }: FileSystem = await import(FILE_SYSTEM);
const PAGES = new URL("../../src/pages/", import.meta.url);
const SHEETS = readdirSync(PAGES, { recursive: true })
  .filter((path) => path.endsWith(".css"))
  .map((path) => [path, readFileSync(new URL(path, PAGES), "utf8")] as const);
const style = SHEETS.find(([path]) => path === "style.css")?.[1] ?? "";
const [light = "", dark = ""] = style.split("@media (prefers-color-scheme: dark)");

function tokensOf(css: string): Map<string, string> {
  return new Map([...css.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6});/g)].map((match) => [match[1] ?? "", match[2] ?? ""]));
}

/** Text and what it stands on: WCAG 2.2, 1.4.3. */
const TEXT = [
  ["ink", "ground"],
  ["ink", "surface"],
  ["ink", "sunken"],
  ["ink-soft", "ground"],
  ["ink-soft", "surface"],
  ["ink-soft", "sunken"],
  ["accent", "ground"],
  ["on-accent", "accent"],
  ["on-accent", "accent-strong"],
  ["surface", "ink-soft"],
  ["link", "ground"],
  ["link", "surface"],
  ["link", "sunken"],
  ["good", "good-ground"],
  ["ink-soft", "good-ground"],
  ["rest", "rest-ground"],
  ["wait", "wait-ground"],
  ["bad", "bad-ground"],
  ["bad", "surface"],
  ["ink", "good-ground"],
  ["ink", "rest-ground"],
  ["ink", "wait-ground"],
  ["ink", "bad-ground"],
] as const;

/** Edges of fields, rings and lines of charts: WCAG 2.2, 1.4.11. */
const GRAPHICS = [
  ["line-strong", "surface"],
  ["line-strong", "ground"],
  ["accent", "surface"],
  ["accent", "sunken"],
  ["chart-1", "surface"],
  ["chart-2", "surface"],
] as const;

describe.each([
  ["light", tokensOf(light)],
  ["dark", tokensOf(dark)],
])("in the %s theme", (_, tokens) => {
  const colour = (name: string): string => tokens.get(name) ?? `no token ${name}`;

  test.each(TEXT)("%s can be read on %s", (text, ground) => {
    expect(contrast(colour(text), colour(ground))).toBeGreaterThanOrEqual(4.5);
  });

  test.each(GRAPHICS)("%s can be seen on %s", (mark, ground) => {
    expect(contrast(colour(mark), colour(ground))).toBeGreaterThanOrEqual(3);
  });
});

test("both themes have the same colours", () => {
  expect([...tokensOf(dark).keys()].sort()).toEqual([...tokensOf(light).keys()].sort());
});

describe.each(SHEETS)("%s", (_, sheet) => {
  const css = sheet.replace(/\/\*[\s\S]*?\*\//g, "");

  test("uses logical properties only, so that it also runs right to left", () => {
    const physical =
      /(?:^|[\s;{])((?:margin|padding|border|inset|scroll-margin)-(?:left|right|top|bottom)[\w-]*|left|right|top|bottom|(?:min-|max-)?(?:width|height)|float|clear)\s*:/gm;
    const found = [...css.replace(/@media[^{]*/g, "").matchAll(physical)].map((match) => match[1]);
    expect(found).toEqual([]);
    expect(css).not.toMatch(/text-align:\s*(?:left|right)/);
  });

  test("has colours from the tokens", () => {
    const outside = css.replace(/:root\s*\{[^}]*\}/g, "");
    expect(outside.match(/#[0-9a-f]{3,8}\b/gi) ?? []).toEqual([]);
  });

  test("moves nothing for people who asked for less motion", () => {
    const calm = css.replace(/@media \(prefers-reduced-motion: no-preference\) \{[\s\S]*?\n\}/g, "");
    expect(calm).not.toMatch(/\b(?:transition|animation)(?:-[\w]+)*\s*:/);
  });
});
