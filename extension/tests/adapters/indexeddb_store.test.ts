import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import { NOTES } from "../../src/node/outbox.ts";
import {
  ackOf,
  entryOf,
  everythingStored,
  failureOf,
  fetchedOf,
  frameOf,
  jobId,
  keyOf,
  refuseOf,
  START_MS,
} from "./log_entries.ts";

let store: IndexedDbStore;

beforeEach(async () => {
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
});

afterEach(() => {
  store.close();
});

async function newest(): Promise<unknown[]> {
  return await store.entries({ limit: 100 });
}

async function sent(number: number, size_bytes = 300): Promise<void> {
  await store.begin(entryOf(number));
  expect(await store.concludeResult(fetchedOf(number), frameOf(number, size_bytes))).toBe(true);
}

describe("a fetch", () => {
  test("is in the log from its beginning", async () => {
    await store.begin(entryOf(1, { outcome: "sent" }));
    expect(await newest()).toEqual([entryOf(1)]);
    expect(await store.outcome(keyOf(entryOf(1)))).toBe("fetching");
    expect(await store.outcome({ job_id: jobId(1), lease: 2 })).toBeNull();
    expect(await store.waiting()).toEqual([]);
  });

  test("is begun once a lease", async () => {
    await store.begin(entryOf(1));
    const before = await everythingStored();
    await expect(store.begin(entryOf(1, { started_ms: 5 }))).rejects.toMatchObject({ name: "ConstraintError" });
    await expect(store.begin(entryOf(1))).rejects.toBeInstanceOf(DOMException);
    expect(await everythingStored()).toEqual(before);
    await store.begin(entryOf(1, { lease: 2 }));
    expect(await newest()).toHaveLength(2);
  });

  test("that brought a page waits with its frame", async () => {
    await sent(1);
    expect(await newest()).toEqual([fetchedOf(1)]);
    const [item] = await store.waiting();
    expect(item).toEqual({ kind: "result", place: 1, job_id: jobId(1), lease: 1, size_bytes: 300 });
    expect(await store.frame(1)).toEqual(frameOf(1));
    expect(await store.waitingAnswer(keyOf(entryOf(1)))).toEqual(item);
    expect(await store.waitingAnswer({ job_id: jobId(1), lease: 2 })).toBeNull();
  });

  test("that brought none waits with its message, whose words the log has", async () => {
    await store.begin(entryOf(1));
    await store.begin(entryOf(2));
    expect(await store.concludeNote(fetchedOf(1, { status: null, sent_bytes: 0 }), failureOf(1))).toBe(true);
    expect(await store.concludeNote(entryOf(2), refuseOf(2, { reason: "cap_reached" }))).toBe(true);
    expect(await newest()).toEqual([
      entryOf(2, { outcome: "refused", reason: "cap_reached", detail: "too much to do" }),
      fetchedOf(1, { status: null, sent_bytes: 0, outcome: "failed", reason: "timeout", detail: "not in time" }),
    ]);
    expect(await store.waiting()).toEqual([
      { kind: "note", place: 1, job_id: jobId(1), lease: 1, message: failureOf(1) },
      { kind: "note", place: 2, job_id: jobId(2), lease: 1, message: refuseOf(2, { reason: "cap_reached" }) },
    ]);
  });

  test.each(["never begun", "concluded", "cancelled", "interrupted", "acknowledged"])(
    "that is %s is not concluded",
    async (state) => {
      if (state !== "never begun") await store.begin(entryOf(1));
      if (state === "concluded" || state === "acknowledged") await store.concludeResult(fetchedOf(1), frameOf(1));
      if (state === "cancelled") await store.cancelled(keyOf(entryOf(1)));
      if (state === "interrupted") await store.interruptUnfinished("gone");
      if (state === "acknowledged") await store.acknowledged(ackOf(1));
      const before = await everythingStored();
      expect(await store.concludeResult(fetchedOf(1), frameOf(9))).toBe(false);
      expect(await store.concludeNote(fetchedOf(1), failureOf(1))).toBe(false);
      expect(await everythingStored()).toEqual(before);
    },
  );

  test("keeps no more of a frame's memory than the frame", async () => {
    await store.begin(entryOf(1));
    await store.concludeResult(fetchedOf(1), new Uint8Array(1_000_000).subarray(10, 20));
    const frame = await store.frame(1);
    expect([frame?.byteLength, frame?.buffer.byteLength]).toEqual([10, 10]);
  });
});

describe("a refusal", () => {
  test("is in the log and waits, but counts as no job", async () => {
    expect(await store.refused(entryOf(1), refuseOf(1))).toBe(true);
    expect(await newest()).toEqual([entryOf(1, { outcome: "refused", reason: "busy", detail: "too much to do" })]);
    expect(await store.waiting()).toMatchObject([{ kind: "note", message: refuseOf(1) }]);
    expect(await store.hours(0)).toEqual([]);
  });

  test("changes nothing where the lease was seen before", async () => {
    await sent(1);
    await store.begin(entryOf(2));
    const before = await everythingStored();
    expect(await store.refused(entryOf(1), refuseOf(1))).toBe(false);
    expect(await store.refused(entryOf(2), refuseOf(2))).toBe(false);
    expect(await everythingStored()).toEqual(before);
  });

  test("gives way, the oldest first, where too many wait; results never do", async () => {
    await sent(0);
    for (let number = 1; number <= NOTES + 2; number += 1) await store.refused(entryOf(number), refuseOf(number));
    await sent(NOTES + 3);
    const waiting = await store.waiting();
    expect(waiting).toHaveLength(NOTES + 2);
    expect(waiting.slice(0, 2).map((item) => item.job_id)).toEqual([jobId(0), jobId(3)]);
    expect(waiting.at(-1)).toMatchObject({ kind: "result", job_id: jobId(NOTES + 3) });
  });
});

describe("an acknowledgement", () => {
  test("of a result is written down, and the frame is gone", async () => {
    await sent(1);
    const stored = fetchedOf(1, { outcome: "stored", reason: "stored", reward: 25, log_index: 4 });
    expect(await store.acknowledged(ackOf(1))).toEqual(stored);
    expect(await newest()).toEqual([stored]);
    expect(await store.waiting()).toEqual([]);
    expect(await store.frame(1)).toBeNull();
    expect(await store.waitingBytes()).toBe(0);
  });

  test.each([
    ["stored", "stored", 1],
    ["duplicate", "duplicate", 1],
    ["stale", "stale", 0],
    ["rejected", "rejected", 0],
    ["noted", "noted", 0],
  ] as const)("%s is kept with its reason", async (outcome, logged, stored) => {
    await sent(1);
    const ack = ackOf(1, { outcome, reason: "x".repeat(600), reward: 0, log_index: null });
    expect(await store.acknowledged(ack)).toMatchObject({
      outcome: logged,
      reason: outcome,
      detail: "x".repeat(500),
      reward: 0,
      log_index: null,
    });
    expect(await store.hours(0)).toMatchObject([{ jobs: 1, stored, reward: 0 }]);
  });

  test("that is repeated changes nothing", async () => {
    await sent(1);
    await store.acknowledged(ackOf(1));
    const before = await everythingStored();
    expect(await store.acknowledged(ackOf(1))).toBeNull();
    expect(await store.acknowledged(ackOf(1, { outcome: "rejected", reward: 99 }))).toBeNull();
    expect(await everythingStored()).toEqual(before);
  });

  test("of a lease that nobody has changes nothing", async () => {
    await sent(1);
    await store.begin(entryOf(2));
    const before = await everythingStored();
    expect(await store.acknowledged(ackOf(1, { lease: 2 }))).toBeNull();
    expect(await store.acknowledged(ackOf(2))).toBeNull();
    expect(await store.acknowledged(ackOf(3))).toBeNull();
    expect(await everythingStored()).toEqual(before);
  });

  test("of a note ends its waiting and brings no reward, whatever it says", async () => {
    await store.refused(entryOf(1), refuseOf(1));
    const refused = entryOf(1, { outcome: "refused", reason: "busy", detail: "too much to do" });
    expect(await store.acknowledged(ackOf(1, { reward: 1_000 }))).toEqual(refused);
    expect(await newest()).toEqual([refused]);
    expect(await store.waiting()).toEqual([]);
    expect(await store.hours(0)).toEqual([]);
  });
});

describe("a cancellation", () => {
  test("drops a waiting result", async () => {
    await sent(1);
    await store.cancelled(keyOf(entryOf(1)));
    expect(await store.waiting()).toEqual([]);
    expect(await store.frame(1)).toBeNull();
    expect(await newest()).toEqual([fetchedOf(1, { outcome: "cancelled" })]);
    expect(await store.acknowledged(ackOf(1))).toBeNull();
  });

  test("of a fetch counts the bytes it took", async () => {
    await store.begin(entryOf(1));
    const taken = { finished_ms: START_MS + 9_000, received_bytes: 700, sent_bytes: 0 };
    await store.cancelled(keyOf(entryOf(1)), taken);
    expect(await newest()).toEqual([entryOf(1, { ...taken, outcome: "cancelled" })]);
    expect(await store.usageSince(START_MS - 1)).toEqual({ jobs: 1, bytes: 700 });
  });

  test("leaves what has come to its end as it is", async () => {
    await sent(1);
    await store.acknowledged(ackOf(1));
    await store.begin(entryOf(2));
    await store.concludeNote(entryOf(2), failureOf(2));
    const before = await newest();
    await store.cancelled(keyOf(entryOf(1)));
    await store.cancelled(keyOf(entryOf(2)));
    await store.cancelled({ job_id: jobId(3), lease: 1 });
    expect(await newest()).toEqual(before);
    expect(await store.waiting()).toEqual([]);
  });
});

describe("what an earlier worker left in the middle", () => {
  test("is handed back once, in the order it was begun; the rest is left alone", async () => {
    await sent(1);
    await store.begin(entryOf(2));
    await store.begin(entryOf(3));
    await store.refused(entryOf(4), refuseOf(4));
    const ended = { outcome: "interrupted", reason: "stopping", detail: "the worker ended" } as const;
    expect(await store.interruptUnfinished("the worker ended")).toEqual([entryOf(2, ended), entryOf(3, ended)]);
    const stopping = { reason: "stopping", detail: "the worker ended" } as const;
    expect((await store.waiting()).slice(2)).toMatchObject([
      { kind: "note", message: refuseOf(2, stopping) },
      { kind: "note", message: refuseOf(3, stopping) },
    ]);
    const before = await everythingStored();
    expect(await store.interruptUnfinished("the worker ended again")).toEqual([]);
    expect(await everythingStored()).toEqual(before);
  });

  test("stays interrupted when the refusal is acknowledged", async () => {
    await store.begin(entryOf(1));
    await store.interruptUnfinished("gone");
    expect(await store.acknowledged(ackOf(1, { outcome: "noted" }))).toMatchObject({ outcome: "interrupted" });
    expect(await store.waiting()).toEqual([]);
  });

  test("is found by the next worker's store", async () => {
    await store.begin(entryOf(1));
    await sent(2);
    store.close();
    store = await IndexedDbStore.open();
    expect(await store.interruptUnfinished("gone")).toHaveLength(1);
    expect((await store.waiting()).map((item) => [item.kind, item.job_id])).toEqual([
      ["result", jobId(2)],
      ["note", jobId(1)],
    ]);
    expect(await store.frame(1)).toEqual(frameOf(2));
  });
});

describe("what waits", () => {
  test("is listed oldest first, whatever the log's order, and places are never used again", async () => {
    for (const number of [5, 3, 9]) await store.begin(entryOf(number));
    await store.concludeResult(fetchedOf(9), frameOf(9));
    await store.concludeNote(entryOf(3), failureOf(3));
    await store.concludeResult(fetchedOf(5), frameOf(5));
    expect((await store.waiting()).map((item) => item.job_id)).toEqual([jobId(9), jobId(3), jobId(5)]);
    const last = (await store.waiting()).at(-1);
    await store.acknowledged(ackOf(5));
    await sent(1);
    const [, , item] = await store.waiting();
    expect(item?.job_id).toBe(jobId(1));
    expect(item?.place).toBeGreaterThan(last?.place ?? Number.POSITIVE_INFINITY);
  });

  test("is measured by the frames of results alone", async () => {
    await sent(1, 1_000);
    await sent(2, 234);
    await store.refused(entryOf(3), refuseOf(3));
    expect(await store.waitingBytes()).toBe(1_234);
  });
});
