import { expect, test } from "vitest";
import { BASE_MS, bound, CEILING_MS, failuresAfterSession, STABLE_SESSION_MS, waitMs } from "../../src/node/backoff.ts";

test("the bound doubles from the base to the ceiling and stays there", () => {
  expect([0, 1, 2, 3, 4, 5, 6, 7, 8, 1_000, 1e9].map(bound)).toEqual([
    500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000,
  ]);
  expect([BASE_MS, CEILING_MS]).toEqual([500, 60_000]);
});

test("a wait is anything from 0 up to the bound, evenly", () => {
  expect(waitMs(3, 0)).toBe(0);
  expect(waitMs(3, 0.25)).toBe(1_000);
  expect(waitMs(3, 1 - Number.EPSILON)).toBe(3_999);
  const mean = Array.from({ length: 1_000 }, (_, step) => waitMs(9, step / 1_000)).reduce((a, b) => a + b, 0) / 1_000;
  expect(mean).toBeCloseTo(CEILING_MS / 2, -2);
});

test("a session that lasted, or brought a result through, starts the count again; another does not", () => {
  expect(failuresAfterSession(5, STABLE_SESSION_MS, 0)).toBe(0);
  expect(failuresAfterSession(5, 10, 1)).toBe(0);
  expect(failuresAfterSession(5, STABLE_SESSION_MS - 1, 0)).toBe(5);
});
