/** UUIDv7 identifiers (RFC 9562, section 5.7) in lower-case hyphenated form. */

import { toHex } from "./bytes.ts";

const FORM = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![\s\S])/;
const TIME_BITS = 48;
const RANDOM_BYTES = 10;

/** Make a UUIDv7 of a time in UTC ms and 10 random bytes; RangeError where either does not fit. */
export function uuid7(time_ms: number, randomness: Uint8Array): string {
  if (!Number.isInteger(time_ms) || time_ms < 0 || time_ms >= 2 ** TIME_BITS) {
    throw new RangeError(`a UUIDv7 holds ${TIME_BITS} bits of milliseconds; ${time_ms} does not fit`);
  }
  if (randomness.length !== RANDOM_BYTES) {
    throw new RangeError(`a UUIDv7 takes ${RANDOM_BYTES} random bytes, got ${randomness.length}`);
  }
  const random = Uint8Array.from(randomness, (byte, place) => {
    if (place === 0) return 0x70 | (byte & 0x0f);
    return place === 2 ? 0x80 | (byte & 0x3f) : byte;
  });
  const hex = time_ms.toString(16).padStart(TIME_BITS / 4, "0") + toHex(random);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Tell whether a text is a UUIDv7 in lower-case hyphenated form. */
export function isUuid7(text: string): boolean {
  return FORM.test(text);
}

/** Return the UTC ms a UUIDv7 was made at; RangeError where the text is none. */
export function uuid7TimeMs(identifier: string): number {
  if (!isUuid7(identifier)) throw new RangeError("the text is not a UUIDv7");
  return Number.parseInt(identifier.slice(0, 8) + identifier.slice(9, 13), 16);
}
