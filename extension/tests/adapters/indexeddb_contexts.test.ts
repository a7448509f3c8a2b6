import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import { JOURNAL_CHANNEL } from "../../src/node/journal.ts";
import { ackOf, entryOf, fetchedOf, frameOf, keyOf, refuseOf } from "./log_entries.ts";

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

describe("other pages and workers", () => {
  test("are told of every change, after it is made", async () => {
    const page = new BroadcastChannel(JOURNAL_CHANNEL);
    const told: unknown[] = [];
    const nextWord = () => new Promise((resolve) => page.addEventListener("message", resolve, { once: true }));
    page.addEventListener("message", async () => told.push(await store.outcome(keyOf(entryOf(1)))));
    for (const change of [
      () => store.begin(entryOf(1)),
      () => store.concludeResult(fetchedOf(1), frameOf(1)),
      () => store.acknowledged(ackOf(1)),
      () => store.cancelled(keyOf(entryOf(1))),
      () => store.refused(entryOf(2), refuseOf(2)),
      () => store.interruptUnfinished(""),
      () => store.prune(),
    ]) {
      const word = nextWord();
      await change();
      await word;
    }
    await store.outcome(keyOf(entryOf(1)));
    page.close();
    expect(told.slice(0, 3)).toEqual(["fetching", "sent", "stored"]);
    expect(told).toHaveLength(7);
  });

  test("can erase everything while this store is open; another one begins anew", async () => {
    await sent(1);
    await IndexedDbStore.erase();
    await expect(store.entries({ limit: 9 })).rejects.toMatchObject({ name: "InvalidStateError" });
    await expect(store.begin(entryOf(2))).rejects.toMatchObject({ name: "InvalidStateError" });
    expect((await indexedDB.databases()).map((database) => database.name)).not.toContain("meadow");
    store = await IndexedDbStore.open();
    expect(await store.entries({ limit: 9 })).toEqual([]);
    expect(await store.waiting()).toEqual([]);
    expect(await store.hours(0)).toEqual([]);
    await sent(1);
    expect(await store.waiting()).toHaveLength(1);
  });

  test("a store that was closed does nothing more", async () => {
    store.close();
    await expect(store.begin(entryOf(1))).rejects.toMatchObject({ name: "InvalidStateError" });
    await expect(store.waiting()).rejects.toBeInstanceOf(DOMException);
    store.close();
  });

  test("a store that is closed while it writes still writes", async () => {
    const writing = store.begin(entryOf(1));
    await Promise.resolve();
    store.close();
    await Promise.allSettled([writing]);
    store = await IndexedDbStore.open();
    const isWritten = (await store.outcome(keyOf(entryOf(1)))) === "fetching";
    const reported = await writing.then(
      () => true,
      () => false,
    );
    expect(reported).toBe(isWritten);
  });
});
