/** Base58 in Bitcoin's alphabet, as Solana writes addresses and keys. */

import type { Bytes } from "./bytes.ts";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const VALUES = new Map([...ALPHABET].map((char, value) => [char, value]));
/** The longest text decoded, in characters: the conversion is quadratic. */
export const BASE58_MOST_CHARS = 2_048;
const WALLET_BYTES = 32;
const WALLET_FORM = /^[1-9A-HJ-NP-Za-km-z]{32,44}(?![\s\S])/;

/** Encode bytes as base58; each leading zero byte becomes one `1`. */
export function encodeBase58(bytes: Uint8Array): string {
  const digits = converted(bytes, 256, 58);
  return "1".repeat(leadingZeros(bytes)) + digits.map((digit) => ALPHABET.charAt(digit)).join("");
}

/** Decode base58; RangeError for a character outside the alphabet or more than `BASE58_MOST_CHARS` characters. */
export function decodeBase58(text: string): Bytes {
  if (text.length > BASE58_MOST_CHARS) {
    throw new RangeError(`base58 text of ${text.length} characters is longer than ${BASE58_MOST_CHARS}`);
  }
  const digits = Array.from(text, (char) => {
    const value = VALUES.get(char);
    if (value === undefined) throw new RangeError(`${JSON.stringify(char)} is not a base58 character`);
    return value;
  });
  const zeros = leadingZeros(digits);
  const significant = converted(digits, 58, 256);
  const bytes = new Uint8Array(zeros + significant.length);
  bytes.set(significant, zeros);
  return bytes;
}

/** Tell whether a text is a Solana address: 32 bytes in base58. */
export function isWallet(text: string): boolean {
  return WALLET_FORM.test(text) && decodeBase58(text).length === WALLET_BYTES;
}

function leadingZeros(digits: ArrayLike<number>): number {
  let count = 0;
  while (count < digits.length && digits[count] === 0) count += 1;
  return count;
}

/** The number these big-endian digits say in base `from`, as big-endian digits in base `to` without leading zeros. */
function converted(digits: Iterable<number>, from: number, to: number): number[] {
  const result: number[] = [];
  for (const digit of digits) {
    let carry = digit;
    for (const [place, value] of result.entries()) {
      const sum = value * from + carry;
      result[place] = sum % to;
      carry = Math.floor(sum / to);
    }
    while (carry > 0) {
      result.push(carry % to);
      carry = Math.floor(carry / to);
    }
  }
  return result.reverse();
}
