import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Silence, unlessAborted, Word } from "../../src/adapters/deadline.ts";

describe("waiting unless aborted", () => {
  test("gives what came, or why it did not", async () => {
    const { signal } = new AbortController();
    expect(await unlessAborted(Promise.resolve(7), signal)).toBe(7);
    await expect(unlessAborted(Promise.reject(new Error("no")), signal)).rejects.toThrow("no");
  });

  test("rejects with the signal's reason, whatever it is", async () => {
    const controller = new AbortController();
    const waiting = unlessAborted(new Promise(() => {}), controller.signal);
    controller.abort({ kind: "refusal" });
    await expect(waiting).rejects.toEqual({ kind: "refusal" });
    await expect(unlessAborted(Promise.resolve(7), controller.signal)).rejects.toEqual({ kind: "refusal" });
  });

  test("leaves no listener behind", async () => {
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, "removeEventListener");
    await unlessAborted(Promise.resolve(7), signal);
    expect(removed).toHaveBeenCalledOnce();
  });
});

describe("with a clock", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("silence aborts once nothing was heard for a while", () => {
    const silence = new Silence();
    silence.restart(100);
    vi.advanceTimersByTime(90);
    silence.restart(50);
    vi.advanceTimersByTime(49);
    expect(silence.signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(silence.signal.aborted).toBe(true);
  });

  test("silence that ended does not abort", () => {
    const silence = new Silence();
    silence.restart(100);
    silence.end();
    vi.advanceTimersByTime(1_000);
    expect(silence.signal.aborted).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a word is heard in time, or null", async () => {
    const [spoken, unspoken] = [new Word<string>(), new Word<string>()];
    const waiting = Promise.all([spoken.within(100), unspoken.within(100)]);
    spoken.say("first");
    spoken.say("second");
    await vi.advanceTimersByTimeAsync(100);
    expect(await waiting).toEqual(["first", null]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test("a word that came while everything stood still is heard", async () => {
  const word = new Word<string>();
  const waiting = word.within(400);
  setTimeout(() => setTimeout(() => word.say("late"), 10), 200);
  const until_ms = Date.now() + 600;
  while (Date.now() < until_ms);
  expect(await waiting).toBe("late");
});
