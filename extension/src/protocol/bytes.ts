/** Byte strings and the two texts they are shown in: UTF-8 and hexadecimal. */

import { MalformedMessage } from "./errors.ts";

/** Bytes in memory of their own, as WebCrypto and WebSocket take them. */
export type Bytes = Uint8Array<ArrayBuffer>;

const LONE_SURROGATE = /\p{Surrogate}/u;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Join byte strings into one. */
export function concatenate(...parts: readonly Uint8Array[]): Bytes {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** Write bytes in lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Encode text as UTF-8. The text must be well-formed: `hasLoneSurrogate` tells. */
export function toUtf8(text: string): Bytes {
  return encoder.encode(text);
}

/** Decode UTF-8 (RFC 3629), keeping a byte-order mark as the character it is; MalformedMessage where it is none. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new MalformedMessage("the bytes are not UTF-8", { cause: error });
  }
}

/** Tell whether a text holds half of a surrogate pair, which no UTF-8 can say. */
export function hasLoneSurrogate(text: string): boolean {
  return LONE_SURROGATE.test(text);
}
