import { expect, test } from "vitest";
import { isAccepted, TERMS_VERSION } from "../../src/node/consent.ts";

test("only the terms as they stand now count as accepted", () => {
  expect(isAccepted(null)).toBe(false);
  expect(isAccepted({ version: TERMS_VERSION, accepted_ms: 1 })).toBe(true);
  expect(isAccepted({ version: TERMS_VERSION - 1, accepted_ms: 1 })).toBe(false);
  expect(isAccepted({ version: TERMS_VERSION + 1, accepted_ms: 1 })).toBe(false);
});
