/** Ed25519 (RFC 8032) and SHA-256 by WebCrypto, with the protocol's stricter rules (PROTOCOL.md, section 2.2). */

import { fromBase64url } from "./base64url.ts";
import { type Bytes, toHex } from "./bytes.ts";
import { BadSignature } from "./errors.ts";

/** The bytes of a public key, and of R and S each. */
export const KEY_BYTES = 32;
/** The bytes of a signature: R, then S. */
export const SIGNATURE_BYTES = 64;

const FIELD_PRIME = 2n ** 255n - 19n;
const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
// The y coordinates of the eight points whose order divides 8: with such a key one signature fits many messages.
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([0n, 1n, FIELD_PRIME - 1n, ORDER_8_Y, FIELD_PRIME - ORDER_8_Y]);
const Y_BITS = (1n << 255n) - 1n;

/** A private key that signs and is never seen. `public_key` is base64url. */
export interface Signer {
  readonly public_key: string;
  /** Sign a message; 64 bytes. */
  sign(message: Bytes): Promise<Bytes>;
}

/**
 * Check an Ed25519 signature against a base64url public key; BadSignature where it does not hold.
 *
 * Besides what RFC 8032, section 5.1.7, refuses: a key or an R that is not the one encoding of its point, or is of small
 * order. MalformedMessage where `public_key` is not base64url.
 */
export async function verifySignature(public_key: string, message: Bytes, signature: Bytes): Promise<void> {
  const raw = fromBase64url(public_key);
  if (raw.length !== KEY_BYTES) throw new BadSignature(`an Ed25519 public key has 32 bytes, got ${raw.length}`);
  if (signature.length !== SIGNATURE_BYTES) {
    throw new BadSignature(`an Ed25519 signature has 64 bytes, got ${signature.length}`);
  }
  if (isWeak(raw) || isWeak(signature.subarray(0, KEY_BYTES))) {
    throw new BadSignature("the Ed25519 key or signature holds a point of small order or not in its one encoding");
  }
  if (littleEndian(signature.subarray(KEY_BYTES)) >= GROUP_ORDER) {
    throw new BadSignature("the Ed25519 signature's S is not below the group order");
  }
  if (!(await verifies(raw, message, signature))) throw new BadSignature("the Ed25519 signature does not verify");
}

/** SHA-256 of bytes, lower-case hexadecimal. */
export async function sha256Hex(bytes: Bytes): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

async function verifies(raw: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", key, signature, message);
  } catch (error) {
    const names_the_key = error instanceof DOMException && ["DataError", "OperationError"].includes(error.name);
    if (names_the_key) throw new BadSignature("the bytes are no Ed25519 public key", { cause: error });
    throw error;
  }
}

function isWeak(encoded: Uint8Array): boolean {
  const y = littleEndian(encoded) & Y_BITS;
  return y >= FIELD_PRIME || SMALL_ORDER_Y.has(y);
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`);
}
