/** This browser's own keys: WebCrypto Ed25519 (RFC 8032), kept as CryptoKeys in IndexedDB. */
import { encodeBase58 } from "../protocol/base58.ts";
import { fromBase64url, toBase64url } from "../protocol/base64url.ts";
import type { Signer } from "../protocol/keys.ts";
import type { IndexedDbStore } from "./indexeddb_store.ts";

const ED25519 = "Ed25519";
const NODE = "node";
const WALLET = "wallet";

/** There is no such key in this browser, or what is kept under its name is none. */
export class KeyMissing extends Error {
  override readonly name = "KeyMissing";
}

/**
 * The node's signing key, made at the first call. Its private half never leaves the browser's key store: nobody can read
 * it, this extension included. DOMException where it cannot be kept.
 */
export async function nodeKey(store: IndexedDbStore): Promise<Signer> {
  const pair = await keptOrMade(store, NODE, { extractable: false });
  return {
    public_key: toBase64url(await publicBytes(pair)),
    async sign(bytes) {
      return new Uint8Array(await crypto.subtle.sign(ED25519, pair.privateKey, bytes));
    },
  };
}

/** The Solana address of this browser's own wallet, which is made at the first call. Its key can be taken out. */
export async function ownWallet(store: IndexedDbStore): Promise<string> {
  return encodeBase58(await publicBytes(await keptOrMade(store, WALLET, { extractable: true })));
}

/**
 * The key of this browser's own wallet as wallets import it: base58 of the 32 bytes of the seed and the 32 of the public
 * key. Whoever has it has the wallet. KeyMissing where no wallet was made here.
 */
export async function recoveryKey(store: IndexedDbStore): Promise<string> {
  const pair = await store.key(WALLET);
  if (!isKeyPair(pair)) throw new KeyMissing("this browser has made no wallet of its own");
  const { d, x } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  if (d === undefined || x === undefined) throw new KeyMissing("the browser gave an incomplete key (RFC 8037)");
  return encodeBase58(new Uint8Array([...fromBase64url(d), ...fromBase64url(x)]));
}

async function keptOrMade(
  store: IndexedDbStore,
  name: string,
  options: { readonly extractable: boolean },
): Promise<CryptoKeyPair> {
  const kept = await store.key(name);
  if (isKeyPair(kept)) return kept;
  const fresh = await crypto.subtle.generateKey(ED25519, options.extractable, ["sign", "verify"]);
  if (!isKeyPair(fresh)) throw new KeyMissing("the browser makes no Ed25519 keys");
  const inUse = await store.keepKey(name, fresh);
  if (!isKeyPair(inUse)) throw new KeyMissing(`what is kept as the ${name} key is none`);
  return inUse;
}

async function publicBytes(pair: CryptoKeyPair): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
}

function isKeyPair(value: unknown): value is CryptoKeyPair {
  if (typeof value !== "object" || value === null || !("privateKey" in value) || !("publicKey" in value)) return false;
  return value.privateKey instanceof CryptoKey && value.publicKey instanceof CryptoKey;
}
