import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IndexedDbStore, type LogPlace } from "../../src/adapters/indexeddb_store.ts";
import type { LogEntry } from "../../src/node/journal.ts";
import { ackOf, entryOf, failureOf, fetchedOf, frameOf, jobId, refuseOf, START_MS } from "./log_entries.ts";

let store: IndexedDbStore;

beforeEach(async () => {
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
});

afterEach(() => {
  store.close();
});

function placeOf(entry: LogEntry): LogPlace {
  return [entry.started_ms, entry.job_id, entry.lease];
}

function names(entries: readonly LogEntry[]): string[] {
  return entries.map((entry) => `${entry.job_id.slice(-3)}/${entry.lease}`);
}

async function pagesOf(limit: number, search?: string): Promise<LogEntry[][]> {
  const pages: LogEntry[][] = [];
  let before: LogPlace | undefined;
  for (;;) {
    const page = await store.entries({ before, limit, search });
    pages.push(page);
    const last = page.at(-1);
    if (last === undefined || page.length < limit) return pages;
    before = placeOf(last);
  }
}

describe("pages of the log", () => {
  test.each([1, 2, 3, 5, 7, 11, 12, 13])(
    "of %i have no gap and no repetition, whatever began together",
    async (limit) => {
      const entries = [
        ...[1, 2, 3, 4, 5].map((number) => entryOf(number, { started_ms: START_MS })),
        ...[1, 2, 3].map((lease) => entryOf(9, { started_ms: START_MS, lease })),
        ...[6, 7].map((number) => entryOf(number, { started_ms: START_MS - 1 })),
        ...[8, 10].map((number) => entryOf(number, { started_ms: START_MS + 1 })),
      ];
      for (const entry of entries) await store.begin(entry);
      const pages = await pagesOf(limit);
      expect(pages.every((page) => page.length <= limit)).toBe(true);
      expect(names(pages.flat())).toEqual([
        "010/1",
        "008/1",
        "009/3",
        "009/2",
        "009/1",
        "005/1",
        "004/1",
        "003/1",
        "002/1",
        "001/1",
        "007/1",
        "006/1",
      ]);
    },
  );

  test("go on from a place whose entry is gone", async () => {
    for (const number of [1, 2, 3]) await store.begin(entryOf(number, { started_ms: START_MS }));
    expect(names(await store.entries({ before: [START_MS, jobId(2), 9], limit: 9 }))).toEqual(["002/1", "001/1"]);
    expect(names(await store.entries({ before: [START_MS, jobId(2), 0], limit: 9 }))).toEqual(["001/1"]);
    expect(names(await store.entries({ before: [START_MS - 1, jobId(9), 9], limit: 9 }))).toEqual([]);
    expect(names(await store.entries({ before: [START_MS + 1, jobId(0), 0], limit: 9 }))).toHaveLength(3);
  });

  test("do not move when the log grows", async () => {
    for (const number of [1, 2, 3, 4]) await store.begin(entryOf(number));
    const [, second] = await store.entries({ limit: 2 });
    await store.begin(entryOf(5));
    expect(names(await store.entries({ before: second && placeOf(second), limit: 2 }))).toEqual(["002/1", "001/1"]);
  });

  test("of no entries ask nothing", async () => {
    await store.begin(entryOf(1));
    expect(await store.entries({ limit: 0 })).toEqual([]);
  });
});

describe("search", () => {
  beforeEach(async () => {
    for (const number of [1, 2, 3, 4, 5]) await store.begin(entryOf(number));
    await store.begin(
      entryOf(6, { host: "xn--bcher-kva.example", url: "https://xn--bcher-kva.example/caf%C3%A9?A=1" }),
    );
    await store.concludeResult(fetchedOf(1, { final_url: "https://elsewhere.example/" }), frameOf(1));
    await store.acknowledged(ackOf(1));
    await store.concludeNote(entryOf(2), failureOf(2));
    await store.refused(entryOf(7), refuseOf(7));
  });

  test.each([
    ["site3.example", ["003/1"]],
    ["SITE3", ["003/1"]],
    ["https://site4", ["004/1"]],
    ["elsewhere", ["001/1"]],
    ["stored", ["001/1"]],
    ["refused", ["007/1"]],
    ["failed site2", ["002/1"]],
    ["failed site3", []],
    [" fetching  page ", ["005/1", "004/1", "003/1"]],
    ["bücher.example", ["006/1"]],
    ["café", ["006/1"]],
    ["?a=1", ["006/1"]],
    ["\ud800", []],
    [".*", []],
    ["", ["007/1", "006/1", "005/1", "004/1", "003/1", "002/1", "001/1"]],
  ])("for %j looks at host, URL and outcome", async (search, found) => {
    expect(names(await store.entries({ limit: 100, search }))).toEqual(found);
    expect(names((await pagesOf(1, search)).flat())).toEqual(found);
  });
});

test("a search looks through the whole log, and the whole log can be read, in many transactions", async () => {
  const total = 1_234;
  for (let number = 0; number < total; number += 1) await store.begin(entryOf(number));
  expect(names(await store.entries({ limit: 10, search: "site7.example" }))).toEqual(["007/1"]);
  const found = await pagesOf(100, "site1");
  const wanted = Array.from({ length: total }, (_, number) => number).filter((number) => `${number}`.startsWith("1"));
  expect(found.flat().map((entry) => entry.job_id)).toEqual(wanted.toReversed().map(jobId));

  const read: string[] = [];
  for await (const entry of store.everyEntry()) {
    if (read.length === 10) await store.begin(entryOf(total));
    read.push(entry.job_id);
  }
  expect(read).toEqual(Array.from({ length: total }, (_, number) => jobId(total - 1 - number)));
});
