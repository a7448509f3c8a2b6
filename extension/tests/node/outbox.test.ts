import { expect, test } from "vitest";
import { isFull, WAITING_BYTES } from "../../src/node/outbox.ts";
import { LIMITS } from "../../src/protocol/limits.ts";

test("the outbox is full from where another result of the largest size might not find room", () => {
  expect(isFull(0)).toBe(false);
  expect(isFull(WAITING_BYTES - LIMITS.BINARY_FRAME_BYTES)).toBe(false);
  expect(isFull(WAITING_BYTES - LIMITS.BINARY_FRAME_BYTES + 1)).toBe(true);
  expect(WAITING_BYTES).toBe(268_435_456);
});
