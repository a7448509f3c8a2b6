import { describe, expect, test } from "vitest";

/** The text of every source, by its path below `src`. */
const SOURCES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(import.meta.glob<string>("../src/**/*.ts", { query: "?raw", import: "default", eager: true })).map(
    ([path, text]) => [path.replace("../src/", ""), text],
  ),
);
/** Which folder may import which: the same order as in Python, `protocol` below everything. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: ["protocol"],
  node: ["node", "protocol"],
  adapters: ["adapters", "node", "protocol"],
  pages: ["pages", "adapters", "node", "protocol"],
  "": ["pages", "adapters", "node", "protocol"],
};

const files = Object.keys(SOURCES);

function folderOf(path: string): string {
  return path.includes("/") ? (path.split("/")[0] ?? "") : "";
}

function importsOf(file: string): string[] {
  const named = [...(SOURCES[file] ?? "").matchAll(/from "(\.{1,2}\/[^"]+\.ts)"/g)].map(([, path]) => path ?? "");
  return named.map((path) => new URL(path, `file:///${file}`).pathname.slice(1)).filter((path) => files.includes(path));
}

describe("the folders of src", () => {
  test.each(files)("%s imports downwards only", (file) => {
    const allowed = MAY_IMPORT[folderOf(file)] ?? [];
    expect(importsOf(file).filter((path) => !allowed.includes(folderOf(path)))).toEqual([]);
  });

  test("import each other in no circle", () => {
    const done = new Set<string>();
    const visit = (file: string, above: readonly string[]): void => {
      expect(above).not.toContain(file);
      if (done.has(file)) return;
      for (const path of importsOf(file)) visit(path, [...above, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(done.size).toBe(files.length);
  });
});
