/** Base64url, base58, UUIDv7 and UTF-8: against the runtime's own, and what they refuse. */
import { describe, expect, test } from "vitest";
import { BASE58_MOST_CHARS, decodeBase58, encodeBase58, isWallet } from "../../src/protocol/base58.ts";
import { fromBase64url, toBase64url } from "../../src/protocol/base64url.ts";
import { concatenate, fromUtf8, hasLoneSurrogate, toHex, toUtf8 } from "../../src/protocol/bytes.ts";
import { MalformedMessage } from "../../src/protocol/errors.ts";
import { isUuid7, uuid7, uuid7TimeMs } from "../../src/protocol/uuid7.ts";

const LENGTHS = Array.from({ length: 70 }, (_, length) => length);

function random(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

describe("base64url", () => {
  test.each(LENGTHS)("%i bytes are written as the runtime writes them, and read back", (length) => {
    const bytes = random(length);
    const known = btoa(String.fromCharCode(...bytes))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .replaceAll("=", "");
    expect(toBase64url(bytes)).toBe(known);
    expect(fromBase64url(known)).toEqual(bytes);
  });

  test("a statement of the largest size passes", () => {
    const bytes = random(60_069);
    expect(fromBase64url(toBase64url(bytes))).toEqual(bytes);
  });
});

describe("base58", () => {
  test.each([
    ["", ""],
    ["61", "2g"],
    ["626262", "a3gV"],
    ["00000000000000000000", "1111111111"],
    ["516b6fcd0f", "ABnLTmg"],
    ["00eb15231dfceb60925886b67d065299925915aeb172c06647", "1NS17iag9jJgTHD1VXjvLCEnZuQ3rJDE9L"],
    ["73696d706c792061206c6f6e6720737472696e67", "2cFupjhnEsSn59qHXstmK2ffpLv2"],
  ])("%s is %s", (hex, text) => {
    expect(toHex(decodeBase58(text))).toBe(hex);
    expect(encodeBase58(decodeBase58(text))).toBe(text);
  });

  test.each(LENGTHS)("%i bytes come back, leading zeros too", (length) => {
    const bytes = concatenate(new Uint8Array(length % 3), random(length));
    expect(decodeBase58(encodeBase58(bytes))).toEqual(bytes);
  });

  test.each(["0", "O", "I", "l", " 1", "é", "\u{1f33e}", "1".repeat(BASE58_MOST_CHARS + 1)])("%j is none", (text) => {
    expect(() => decodeBase58(text)).toThrow(RangeError);
  });

  test("a wallet is 32 bytes in base58", () => {
    expect(isWallet("2Zqh2jyHWKtqxGy4zMjicNRFq6EPa5JMkhxKTkyVP2yJ")).toBe(true);
    expect(isWallet(encodeBase58(new Uint8Array(32)))).toBe(true);
    expect(isWallet(encodeBase58(new Uint8Array(32).fill(255)))).toBe(true);
    expect(isWallet(encodeBase58(new Uint8Array(31).fill(255)))).toBe(false);
    expect(isWallet(encodeBase58(new Uint8Array(33).fill(1)))).toBe(false);
    expect(isWallet("0".repeat(40))).toBe(false);
    expect(isWallet("2Zqh2jyHWKtqxGy4zMjicNRFq6EPa5JMkhxKTkyVP2yJ\n")).toBe(false);
    expect(isWallet("")).toBe(false);
    expect(isWallet("1".repeat(100_000))).toBe(false);
  });
});

describe("UUIDv7", () => {
  test("a time or randomness that does not fit is refused", () => {
    for (const time_ms of [-1, 2 ** 48, 1.5, Number.NaN]) {
      expect(() => uuid7(time_ms, new Uint8Array(10))).toThrow(RangeError);
    }
    for (const length of [0, 9, 11, 16]) expect(() => uuid7(0, new Uint8Array(length))).toThrow(RangeError);
    expect(() => uuid7TimeMs("01a3185c-5000-4000-8000-000000000001")).toThrow(RangeError);
  });

  test("ids of later times sort behind, and say their time", () => {
    const times = [0, 1, 1_800_000_000_000, 1_800_000_000_001, 2 ** 48 - 1];
    const made = times.map((time_ms) => uuid7(time_ms, random(10)));
    expect(made.every(isUuid7)).toBe(true);
    expect(made.toSorted()).toEqual(made);
    expect(made.map(uuid7TimeMs)).toEqual(times);
  });
});

describe("UTF-8", () => {
  test.each([
    ["an overlong slash", [0xc0, 0xaf]],
    ["half of a surrogate pair", [0xed, 0xa0, 0x80]],
    ["beyond U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
    ["a sequence cut short", [0xe8, 0x8d]],
    ["a byte that never stands", [0xff]],
  ])("%s is none", (_, bytes) => {
    expect(() => fromUtf8(Uint8Array.from(bytes))).toThrow(MalformedMessage);
  });

  test("a byte-order mark is kept as a character", () => {
    expect(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe("\ufeffa");
    expect(fromUtf8(toUtf8("草\u{1f33e}\0"))).toBe("草\u{1f33e}\0");
  });

  test("half of a surrogate pair is seen, a whole one is not", () => {
    expect(["\ud800", "\udc00", "a\ud83cb", "\udf3e\ud83c"].every(hasLoneSurrogate)).toBe(true);
    expect(["", "a", "\ud83c\udf3e", "\uffff"].some(hasLoneSurrogate)).toBe(false);
  });
});
