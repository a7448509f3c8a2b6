/// <reference types="vite/client" />
/**
 * Every shared vector that concerns a node of this kind. `bodies.json` and `content_encodings.json` do not: a browser
 * decodes a body before anyone sees it, so this node has no decoder of its own.
 */
import { expect, test } from "vitest";
import differences from "../vectors/differences.json";
import { runVectors, unexplained } from "../vectors/run_vectors.ts";

const NOT_A_BROWSERS = ["bodies", "content_encodings"];
const A_NODES = [
  "addresses",
  "attack_urls",
  "base64url",
  "certificates",
  "handshake",
  "jobs",
  "joins",
  "messages",
  "records",
  "rows",
  "statements",
  "urls",
  "uuid7",
];
// As text: half of a surrogate pair is only kept by JSON.parse.
const TEXTS = import.meta.glob<string>("../../../tests/vectors/*.json", {
  query: "?raw",
  import: "default",
  eager: true,
});
const FILES = new Map(
  Object.entries(TEXTS).map(([path, text]) => [path.replace(/^.*\/(.*)\.json$/, "$1"), text] as const),
);

test("no file of vectors is left out", () => {
  expect([...FILES.keys()].sort()).toEqual([...A_NODES, ...NOT_A_BROWSERS].sort());
});

test.each(A_NODES)("every vector of %s", async (file) => {
  const vectors: unknown = JSON.parse(FILES.get(file) ?? "");
  const results = await runVectors({ [file]: vectors });
  expect(results.length).toBeGreaterThan(Array.isArray(vectors) ? vectors.length - 1 : 300);
  expect(unexplained(results, "node")).toEqual([]);
});

test("a vector that this implementation contradicts is seen", async () => {
  const results = await runVectors({ urls: [{ url: "http://127.0.0.1/", expect: "scheme" }] });
  const found = { file: "urls", got: "private_address", expected: "scheme" };
  expect(unexplained(results, "node")).toMatchObject([found]);
  await expect(runVectors({ bodies: [] })).rejects.toThrow(TypeError);
});

test("a listed difference explains its own runtime and its own result, and never a fetch of what is refused", () => {
  const differs = { file: "urls", case: '"http://*.example.org/"', got: "malformed", expected: "host_name" };
  expect(unexplained([differs], "firefox")).toEqual([]);
  expect(unexplained([differs], "chromium")).toEqual([differs]);
  const other = { ...differs, got: "ok http://*.example.org/" };
  expect(unexplained([other], "firefox")).toEqual([other]);
  expect(differences.filter((one) => one.got === "fetched")).toEqual([]);
});
