/** Ed25519 keys from fixed seeds, for tests. */
import { toBase64url } from "../../src/protocol/base64url.ts";
import { type Bytes, concatenate } from "../../src/protocol/bytes.ts";
import type { Signer } from "../../src/protocol/keys.ts";

// RFC 8410, section 7: what stands before the seed in a PKCS #8 key.
const PKCS8_HEAD = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20);

/** The seed of 32 bytes that count up from `first`. */
export function countingSeed(first: number): Bytes {
  return Uint8Array.from({ length: 32 }, (_, place) => first + place);
}

/** The key of a 32-byte seed. */
export async function seededSigner(seed: Bytes): Promise<Signer> {
  const key = await crypto.subtle.importKey("pkcs8", concatenate(PKCS8_HEAD, seed), "Ed25519", true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", key);
  if (x === undefined) throw new TypeError("an Ed25519 key has no x");
  return {
    public_key: x,
    sign: async (message) => new Uint8Array(await crypto.subtle.sign("Ed25519", key, message)),
  };
}

/** Base64url of a little-endian number in 32 bytes. */
export function littleEndianKey(value: bigint): string {
  return toBase64url(littleEndian32(value));
}

/** A number in 32 little-endian bytes. */
export function littleEndian32(value: bigint): Bytes {
  return Uint8Array.from({ length: 32 }, (_, place) => Number((value >> BigInt(8 * place)) & 0xffn));
}
