/** Unpadded base64url (RFC 4648, section 5) in the one spelling whose unused bits are zero. */

import type { Bytes } from "./bytes.ts";
import { MalformedMessage } from "./errors.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES = new Map([...ALPHABET].map((char, value) => [char, value]));

/** Encode bytes as unpadded base64url. */
export function toBase64url(bytes: Uint8Array): string {
  let text = "";
  let pending = 0;
  let pendingBits = 0;
  for (const byte of bytes) {
    pending = (pending << 8) | byte;
    pendingBits += 8;
    while (pendingBits >= 6) {
      pendingBits -= 6;
      text += ALPHABET.charAt((pending >> pendingBits) & 0x3f);
    }
    pending &= (1 << pendingBits) - 1;
  }
  return pendingBits === 0 ? text : text + ALPHABET.charAt((pending << (6 - pendingBits)) & 0x3f);
}

/** Decode unpadded base64url; anything else, and any second spelling of the same bytes, is MalformedMessage. */
export function fromBase64url(text: string): Bytes {
  const bytes = new Uint8Array(Math.floor((text.length * 6) / 8));
  let length = 0;
  let pending = 0;
  let pendingBits = 0;
  for (const char of text) {
    const value = VALUES.get(char);
    if (value === undefined) throw new MalformedMessage("the text is not unpadded base64url");
    pending = (pending << 6) | value;
    pendingBits += 6;
    if (pendingBits >= 8) {
      pendingBits -= 8;
      bytes[length] = pending >> pendingBits;
      length += 1;
      pending &= (1 << pendingBits) - 1;
    }
  }
  if (pendingBits === 6) throw new MalformedMessage("the base64url text is cut short");
  if (pending !== 0) throw new MalformedMessage("the text is not the one base64url spelling of its bytes");
  return bytes;
}
