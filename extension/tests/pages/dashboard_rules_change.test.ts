import { beforeEach, describe, expect, test, vi } from "vitest";
import { INITIAL_RULES, type OwnerRules, type OwnerState } from "../../src/node/owner_state.ts";

/** The browser's storage and locks in memory; every step is given up once, so that changes really overlap. */
let stored: Partial<OwnerState> = {};
let writes = 0;
let full = false;
let queue: Promise<unknown> = Promise.resolve();

vi.stubGlobal("__BROWSER__", "chrome");
vi.stubGlobal("chrome", {
  storage: {
    local: {
      get: async () => {
        await Promise.resolve();
        return structuredClone(stored);
      },
      set: async (changes: Partial<OwnerState>) => {
        await Promise.resolve();
        if (full) throw new Error("the disk is full");
        writes += 1;
        stored = { ...stored, ...structuredClone(changes) };
      },
    },
  },
});
vi.stubGlobal("navigator", {
  locks: {
    request: (_name: string, act: () => Promise<unknown>) => {
      const done = queue.then(act);
      queue = done.catch(() => undefined);
      return done;
    },
  },
});
const { blockDomain, changeRules, unblockDomain } = await import("../../src/pages/rules_change.ts");

beforeEach(() => {
  stored = {};
  writes = 0;
  full = false;
});

describe("changes at once", () => {
  test("lose none of each other", async () => {
    const domains = Array.from({ length: 40 }, (_, index) => `site-${String(index).padStart(2, "0")}.example`);
    await Promise.all([
      ...domains.map((domain) => changeRules(blockDomain(domain))),
      changeRules((rules) => ({ ...rules, pause: { until_ms: 7 } })),
      changeRules((rules) => ({ ...rules, daily_jobs: 5 })),
    ]);
    expect(stored.rules).toEqual({
      ...INITIAL_RULES,
      blocked_domains: domains,
      pause: { until_ms: 7 },
      daily_jobs: 5,
    } satisfies OwnerRules);
  });

  test("that fail hold nobody up, and change nothing", async () => {
    const failing = changeRules(() => {
      throw new Error("no");
    });
    const next = changeRules((rules) => ({ ...rules, daily_jobs: 5 }));
    await expect(failing).rejects.toThrow("no");
    expect((await next).after.daily_jobs).toBe(5);
    full = true;
    await expect(changeRules((rules) => ({ ...rules, daily_jobs: 6 }))).rejects.toThrow("the disk is full");
    expect(stored.rules?.daily_jobs).toBe(5);
  });
});

test("a change tells what was before and after", async () => {
  stored = { rules: { ...INITIAL_RULES, daily_jobs: 3 } };
  const { before, after } = await changeRules((rules) => ({ ...rules, daily_jobs: null }));
  expect([before.daily_jobs, after.daily_jobs, stored.rules?.daily_jobs]).toEqual([3, null, null]);
});

test("rules that an older version stored have the new ones' initial values", async () => {
  const { only_on_mains: _, ...older } = INITIAL_RULES;
  stored = { rules: older as OwnerRules };
  const { before } = await changeRules((rules) => rules);
  expect(before).toEqual(INITIAL_RULES);
});

describe("blocked domains", () => {
  test("are sorted and stand once; what changes nothing writes nothing", async () => {
    await changeRules(blockDomain("b.example"));
    await changeRules(blockDomain("a.example"));
    await changeRules(blockDomain("b.example"));
    await changeRules(unblockDomain("never.example"));
    expect(stored.rules?.blocked_domains).toEqual(["a.example", "b.example"]);
    expect(writes).toBe(2);
    await changeRules(unblockDomain("a.example"));
    expect(stored.rules?.blocked_domains).toEqual(["b.example"]);
  });
});
