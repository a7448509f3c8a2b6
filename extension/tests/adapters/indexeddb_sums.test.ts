import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import { ackOf, entryOf, failureOf, fetchedOf, frameOf, HOUR_MS, jobId, refuseOf, START_MS } from "./log_entries.ts";

let store: IndexedDbStore;

beforeEach(async () => {
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
});

afterEach(() => {
  store.close();
});

async function sent(number: number): Promise<void> {
  await store.begin(entryOf(number));
  expect(await store.concludeResult(fetchedOf(number), frameOf(number))).toBe(true);
}

describe("sums", () => {
  test("stand under the hour in which a fetch began", async () => {
    await sent(1);
    await sent(2);
    await sent(3_600);
    await store.acknowledged(ackOf(2, { reward: 7 }));
    await store.acknowledged(ackOf(3_600, { reward: 5 }));
    const hour_ms = Date.UTC(2026, 10, 22, 8);
    const first = { hour_ms, jobs: 2, stored: 1, received_bytes: 2_000, sent_bytes: 600, reward: 7 };
    const second = {
      hour_ms: hour_ms + HOUR_MS,
      jobs: 1,
      stored: 1,
      received_bytes: 1_000,
      sent_bytes: 300,
      reward: 5,
    };
    expect(await store.hours(0)).toEqual([first, second]);
    expect(await store.hours(hour_ms)).toEqual([first, second]);
    expect(await store.hours(hour_ms + 1)).toEqual([second]);
  });

  test("of a day begin at the owner's midnight, also where that lies within an hour", async () => {
    const midnight = START_MS + 20_000;
    await sent(19);
    await store.refused(entryOf(18), refuseOf(18));
    expect(await store.usageSince(midnight)).toEqual({ jobs: 0, bytes: 0 });
    await sent(20);
    await store.begin(entryOf(21));
    await sent(22 + 3_600);
    expect(await store.usageSince(midnight)).toEqual({ jobs: 3, bytes: 2_600 });
    expect(await store.usageSince(START_MS - (START_MS % HOUR_MS))).toEqual({ jobs: 4, bytes: 3_900 });
    expect(await store.usageSince(midnight + 24 * HOUR_MS)).toEqual({ jobs: 0, bytes: 0 });
    expect(await store.usageSince(midnight - 24 * HOUR_MS)).toMatchObject({ jobs: 4 });
  });

  test("of a day leave out what a wrong clock dated days ahead", async () => {
    await sent(1);
    const ahead = START_MS + 30 * 24 * HOUR_MS;
    await store.begin(entryOf(2, { started_ms: ahead }));
    expect(await store.usageSince(START_MS)).toEqual({ jobs: 1, bytes: 1_300 });
  });

  test("of a day are too high, never too low, where the log was pruned", async () => {
    const midnight = START_MS + 2_500;
    for (const number of [1, 2, 3]) {
      await sent(number);
      await store.acknowledged(ackOf(number));
    }
    expect(await store.usageSince(midnight)).toEqual({ jobs: 1, bytes: 1_300 });
    await store.prune(2);
    expect(await store.usageSince(midnight)).toEqual({ jobs: 2, bytes: 2_600 });
  });
});

describe("pruning", () => {
  test("deletes the oldest entries, but none that waits or is under way", async () => {
    for (let number = 1; number <= 8; number += 1) await store.begin(entryOf(number));
    await store.concludeResult(fetchedOf(2), frameOf(2));
    await store.concludeNote(entryOf(3), failureOf(3));
    for (const number of [4, 5, 6, 7, 8]) {
      await store.concludeResult(fetchedOf(number), frameOf(number));
      await store.acknowledged(ackOf(number));
    }
    const hours = await store.hours(0);
    expect(await store.prune(8)).toBe(0);
    expect(await store.prune(5)).toBe(3);
    const left = (await store.entries({ limit: 100 })).map((entry) => entry.job_id);
    expect(left).toEqual([8, 7, 3, 2, 1].map(jobId));
    expect(await store.prune(0)).toBe(2);
    expect((await store.entries({ limit: 100 })).map((entry) => entry.outcome)).toEqual(["failed", "sent", "fetching"]);
    expect(await store.waiting()).toHaveLength(2);
    expect(await store.hours(0)).toEqual(hours);
    expect(await store.acknowledged(ackOf(2))).toMatchObject({ outcome: "stored" });
  });
});
