import "fake-indexeddb/auto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import { KeyMissing, nodeKey, ownWallet, recoveryKey } from "../../src/adapters/webcrypto_keys.ts";
import { decodeBase58, isWallet } from "../../src/protocol/base58.ts";
import { toBase64url } from "../../src/protocol/base64url.ts";
import { verifySignature } from "../../src/protocol/keys.ts";

const MESSAGE = new TextEncoder().encode("meadow/v1/hello\n{}");

let store: IndexedDbStore;

beforeEach(async () => {
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
});

afterEach(() => {
  store.close();
});

test("the node's key signs, and is the same in the next worker", async () => {
  const signer = await nodeKey(store);
  await verifySignature(signer.public_key, MESSAGE, await signer.sign(MESSAGE));
  store.close();
  store = await IndexedDbStore.open();
  const later = await nodeKey(store);
  expect(later.public_key).toBe(signer.public_key);
  await verifySignature(signer.public_key, MESSAGE, await later.sign(MESSAGE));
});

test("the node's private key cannot be taken out", async () => {
  await nodeKey(store);
  const kept = (await store.key("node")) as CryptoKeyPair;
  expect(kept.privateKey.extractable).toBe(false);
  for (const format of ["jwk", "pkcs8", "raw"] as const) {
    await expect(crypto.subtle.exportKey(format, kept.privateKey)).rejects.toThrow();
  }
});

test("two that make the key at once use the same one", async () => {
  const other = await IndexedDbStore.open();
  const signers = await Promise.all([nodeKey(store), nodeKey(other), nodeKey(store), nodeKey(other)]);
  other.close();
  expect(new Set(signers.map((signer) => signer.public_key)).size).toBe(1);
  const [first] = signers;
  for (const signer of signers) {
    await verifySignature(first?.public_key ?? "", MESSAGE, await signer.sign(MESSAGE));
  }
});

test("a key that is kept is never replaced", async () => {
  const first = await nodeKey(store);
  const fresh = (await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])) as CryptoKeyPair;
  const kept = (await store.keepKey("node", fresh)) as CryptoKeyPair;
  expect(toBase64url(new Uint8Array(await crypto.subtle.exportKey("raw", kept.publicKey)))).toBe(first.public_key);
  expect((await nodeKey(store)).public_key).toBe(first.public_key);
});

test("what is kept under the key's name and is none is not taken for one, nor replaced", async () => {
  await store.keepKey("node", { privateKey: "none" } as unknown as CryptoKeyPair);
  await expect(nodeKey(store)).rejects.toBeInstanceOf(KeyMissing);
  expect(await store.key("node")).toEqual({ privateKey: "none" });
});

test("after everything was erased there is another key", async () => {
  const first = await nodeKey(store);
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
  expect((await nodeKey(store)).public_key).not.toBe(first.public_key);
});

test("this browser's own wallet is a Solana address, made once, and none of the node's", async () => {
  const [address, again] = await Promise.all([ownWallet(store), ownWallet(store)]);
  expect(isWallet(address)).toBe(true);
  expect(again).toBe(address);
  const { public_key } = await nodeKey(store);
  expect(toBase64url(decodeBase58(address))).not.toBe(public_key);
});

test("the recovery key is seed and public key, and signs for the wallet", async () => {
  const address = await ownWallet(store);
  const recovered = decodeBase58(await recoveryKey(store));
  expect(recovered).toHaveLength(64);
  const public_key = toBase64url(decodeBase58(address));
  expect(toBase64url(recovered.slice(32))).toBe(public_key);
  const jwk = { kty: "OKP", crv: "Ed25519", d: toBase64url(recovered.slice(0, 32)), x: public_key };
  const key = await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["sign"]);
  const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", key, MESSAGE));
  await verifySignature(public_key, MESSAGE, signature);
});

test("there is no recovery key where no wallet was made", async () => {
  await nodeKey(store);
  await expect(recoveryKey(store)).rejects.toBeInstanceOf(KeyMissing);
});
