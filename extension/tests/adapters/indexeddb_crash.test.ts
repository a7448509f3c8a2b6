import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import { JOURNAL_CHANNEL } from "../../src/node/journal.ts";
import { type LeaseKey, NOTES } from "../../src/node/outbox.ts";
import type { Ack } from "../../src/protocol/types.ts";
import { type Break, breakWrite } from "./broken_writes.ts";
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
} from "./log_entries.ts";

let store: IndexedDbStore;

beforeEach(async () => {
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
});

afterEach(() => {
  store.close();
});

interface Change {
  readonly name: string;
  readonly prepare: () => Promise<unknown>;
  readonly change: () => Promise<unknown>;
  /** How many single writes it is made of. */
  readonly writes: number;
}

async function fetching(...numbers: number[]): Promise<void> {
  for (const number of numbers) await store.begin(entryOf(number));
}

async function sent(number: number): Promise<void> {
  await fetching(number);
  await store.concludeResult(fetchedOf(number), frameOf(number));
}

const CHANGES: Change[] = [
  { name: "begin", prepare: async () => {}, change: () => store.begin(entryOf(1)), writes: 2 },
  {
    name: "concludeResult",
    prepare: () => fetching(1),
    change: () => store.concludeResult(fetchedOf(1), frameOf(1)),
    writes: 4,
  },
  {
    name: "concludeNote",
    prepare: () => fetching(1),
    change: () => store.concludeNote(fetchedOf(1), failureOf(1)),
    writes: 3,
  },
  {
    name: "concludeNote where the oldest note gives way",
    prepare: async () => {
      await fetching(0);
      for (let number = 1; number <= NOTES; number += 1) await store.refused(entryOf(number), refuseOf(number));
    },
    change: () => store.concludeNote(fetchedOf(0), failureOf(0)),
    writes: 4,
  },
  { name: "refused", prepare: async () => {}, change: () => store.refused(entryOf(1), refuseOf(1)), writes: 2 },
  { name: "acknowledged", prepare: () => sent(1), change: () => store.acknowledged(ackOf(1)), writes: 4 },
  { name: "cancelled", prepare: () => sent(1), change: () => store.cancelled(keyOf(entryOf(1))), writes: 4 },
  {
    name: "interruptUnfinished",
    prepare: () => fetching(1, 2, 3),
    change: () => store.interruptUnfinished("gone"),
    writes: 6,
  },
];

describe.each<Break>(["refused", "ended before", "ended after"])("where a write is %s", (how) => {
  test.each(CHANGES)("$name changes nothing, and can be done again", async ({ prepare, change, writes }) => {
    await prepare();
    const before = await everythingStored();
    const page = new BroadcastChannel(JOURNAL_CHANNEL);
    let told = 0;
    page.addEventListener("message", () => {
      told += 1;
    });
    for (let nth = 1; nth <= writes; nth += 1) {
      const broken = breakWrite(nth, how);
      await expect(change()).rejects.toBeInstanceOf(DOMException);
      broken.mend();
      expect(broken.writes()).toBeGreaterThanOrEqual(nth);
      expect(await everythingStored()).toEqual(before);
    }
    page.close();
    expect(told).toBe(0);

    const counted = breakWrite(0, how);
    await change();
    counted.mend();
    expect(counted.writes()).toBe(writes);
    expect(await everythingStored()).not.toEqual(before);
  });

  test("a key is kept whole or not at all", async () => {
    const fresh = (await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])) as CryptoKeyPair;
    const broken = breakWrite(1, how);
    await expect(store.keepKey("node", fresh)).rejects.toBeInstanceOf(DOMException);
    broken.mend();
    expect(await store.key("node")).toBeUndefined();
    await store.keepKey("node", fresh);
    expect(await store.key("node")).toMatchObject({ publicKey: expect.any(CryptoKey) });
  });
});

test("the reason of a failed commit is the browser's own", async () => {
  const broken = breakWrite(1, "refused");
  await expect(store.begin(entryOf(1))).rejects.toMatchObject({ name: "QuotaExceededError" });
  broken.mend();
});

/** Numbers from 0 up to 1 that are the same in every run: mulberry32. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A dispatcher that credits a result once, and remembers every answer it was given. */
class Crediting {
  readonly answers = new Map<string, Set<string>>();
  readonly credited = new Map<string, number>();

  answer({ job_id, lease }: LeaseKey, answer: string): Ack {
    const answers = this.answers.get(job_id) ?? new Set();
    this.answers.set(job_id, answers.add(answer));
    const base = { type: "ack", job_id, lease, reason: "", reward: 0, log_index: null } as const;
    if (!answer.startsWith("result")) return { ...base, outcome: "noted" };
    const before = this.credited.get(job_id);
    const reward = before ?? 1 + this.credited.size;
    this.credited.set(job_id, reward);
    return { ...base, outcome: before === undefined ? "stored" : "duplicate", reward };
  }
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "a worker that dies again and again loses nothing and does nothing twice (course %i)",
  async (seed) => {
    const random = sequence(seed);
    const dispatcher = new Crediting();
    const begun = new Set<number>();
    let inHand = new Set<number>();
    let offered = 0;
    let deaths = 0;

    const lives = async (step: () => Promise<unknown>): Promise<boolean> => {
      const deadly = random() < 0.35;
      const broken = breakWrite(
        deadly ? 1 + Math.floor(random() * 5) : 0,
        random() < 0.5 ? "ended after" : "ended before",
      );
      try {
        await step();
        if (!deadly) return true;
      } catch (error) {
        expect(error).toBeInstanceOf(DOMException);
      } finally {
        broken.mend();
      }
      deaths += 1;
      inHand = new Set();
      store.close();
      store = await IndexedDbStore.open();
      for (const entry of await store.interruptUnfinished("gone")) begun.add(Number(entry.job_id.slice(-4)));
      return false;
    };

    const exchange = async (arrives: () => boolean, survives: typeof lives): Promise<void> => {
      for (const item of await store.waiting()) {
        const frame = item.kind === "result" ? await store.frame(item.place) : null;
        if (!arrives()) continue;
        const ack = dispatcher.answer(item, item.kind === "note" ? JSON.stringify(item.message) : `result ${frame}`);
        if (!arrives()) continue;
        if (!(await survives(() => store.acknowledged(ack)))) return;
      }
    };

    for (let turn = 0; turn < 120; turn += 1) {
      const [one] = inHand;
      const chance = random();
      if (chance < 0.4) {
        const number = offered;
        offered += 1;
        if (await lives(() => store.begin(entryOf(number)))) inHand.add(number);
        if ((await store.outcome(keyOf(entryOf(number)))) !== null) begun.add(number);
      } else if (chance < 0.8 && one !== undefined) {
        const conclude = () =>
          random() < 0.7
            ? store.concludeResult(fetchedOf(one), frameOf(one, 20))
            : store.concludeNote(fetchedOf(one), failureOf(one));
        if (await lives(conclude)) inHand.delete(one);
      } else {
        await exchange(() => random() < 0.7, lives);
      }
    }
    await store.interruptUnfinished("gone");
    await exchange(
      () => true,
      async (step) => {
        await step();
        return true;
      },
    );

    expect(deaths).toBeGreaterThan(10);
    expect(await store.waiting()).toEqual([]);
    expect([...dispatcher.answers.keys()].sort()).toEqual([...begun].map(jobId).sort());
    expect([...dispatcher.answers.values()].every((answers) => answers.size === 1)).toBe(true);
    const log = await store.entries({ limit: 1_000 });
    expect(log.map((entry) => entry.job_id).sort()).toEqual([...begun].map(jobId).sort());
    for (const entry of log) {
      const credit = dispatcher.credited.get(entry.job_id);
      expect(entry.reward).toBe(credit ?? 0);
      expect(["stored", "duplicate"].includes(entry.outcome)).toBe(credit !== undefined);
    }
    const hours = await store.hours(0);
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    expect(sum(hours.map((hour) => hour.jobs))).toBe(begun.size);
    expect(sum(hours.map((hour) => hour.stored))).toBe(dispatcher.credited.size);
    expect(sum(hours.map((hour) => hour.reward))).toBe(sum([...dispatcher.credited.values()]));
    expect(sum(hours.map((hour) => hour.received_bytes))).toBe(sum(log.map((entry) => entry.received_bytes)));
    expect(sum(hours.map((hour) => hour.sent_bytes))).toBe(sum(log.map((entry) => entry.sent_bytes)));
  },
);
