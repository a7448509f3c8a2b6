/** Ed25519 by the rules of PROTOCOL.md, section 2.2, and SHA-256. */
import { describe, expect, test, vi } from "vitest";
import { fromBase64url, toBase64url } from "../../src/protocol/base64url.ts";
import { type Bytes, concatenate, toHex, toUtf8 } from "../../src/protocol/bytes.ts";
import { BadSignature, MalformedMessage } from "../../src/protocol/errors.ts";
import { sha256Hex, verifySignature } from "../../src/protocol/keys.ts";
import { countingSeed, littleEndian32, littleEndianKey, seededSigner } from "./seeded_signer.ts";

const PRIME = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SIGN_BIT = 1n << 255n;
const MESSAGE = toUtf8("a message");

async function signed(): Promise<{ public_key: string; signature: Bytes }> {
  const signer = await seededSigner(countingSeed(0));
  return { public_key: signer.public_key, signature: await signer.sign(MESSAGE) };
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`);
}

describe("a signature", () => {
  // RFC 8032, section 7.1, tests 1 to 3.
  test.each([
    [
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
      "",
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
      "72",
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
      "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
      "af82",
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
  ])("of the key %s holds", async (public_hex, message_hex, signature_hex) => {
    const [public_key, message, signature] = [public_hex, message_hex, signature_hex].map((hex) =>
      Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    );
    if (public_key === undefined || message === undefined || signature === undefined) throw new TypeError();
    await verifySignature(toBase64url(public_key), message, signature);
    const longer = concatenate(message, Uint8Array.of(0));
    await expect(verifySignature(toBase64url(public_key), longer, signature)).rejects.toThrow(BadSignature);
  });

  test("of another length is none", async () => {
    const { public_key, signature } = await signed();
    await verifySignature(public_key, MESSAGE, signature);
    for (const wrong of [new Uint8Array(), signature.slice(0, 63), concatenate(signature, Uint8Array.of(0))]) {
      await expect(verifySignature(public_key, MESSAGE, wrong)).rejects.toThrow(BadSignature);
    }
  });

  test("whose S is not below the group order is refused before the runtime is asked", async () => {
    const { public_key, signature } = await signed();
    const r = signature.slice(0, 32);
    const s = numberOf(signature.slice(32));
    const verify = vi.spyOn(crypto.subtle, "verify");
    for (const raised of [s + ORDER, s + 2n * ORDER, ORDER, 2n ** 256n - 1n]) {
      const malleable = concatenate(r, littleEndian32(raised));
      await expect(verifySignature(public_key, MESSAGE, malleable)).rejects.toThrow("group order");
    }
    expect(verify).not.toHaveBeenCalled();
    const below = concatenate(r, littleEndian32(ORDER - 1n));
    await expect(verifySignature(public_key, MESSAGE, below)).rejects.toThrow("does not verify");
    expect(verify).toHaveBeenCalledOnce();
    verify.mockRestore();
  });
});

const WEAK_Y: readonly (readonly [string, bigint])[] = [
  ["the neutral point", 1n],
  ["the point of order 2", PRIME - 1n],
  ["the points of order 4", 0n],
  ["two points of order 8", ORDER_8_Y],
  ["the other two of order 8", PRIME - ORDER_8_Y],
  ["a second spelling of 0", PRIME],
  ["a second spelling of 1", PRIME + 1n],
  ["a second spelling of 9", PRIME + 9n],
  ["the largest y there is room for", 2n ** 255n - 1n],
];

describe.each(WEAK_Y)("%s", (_, y) => {
  test.each([
    ["plain", y],
    ["with its sign bit", y | SIGN_BIT],
  ])("%s is neither a key nor an R", async (_spelling, encoded) => {
    const { public_key, signature } = await signed();
    const weak = littleEndian32(encoded);
    const forged = concatenate(weak, new Uint8Array(32));
    const verify = vi.spyOn(crypto.subtle, "verify");
    await expect(verifySignature(littleEndianKey(encoded), MESSAGE, forged)).rejects.toThrow("small order");
    await expect(verifySignature(littleEndianKey(encoded), MESSAGE, signature)).rejects.toThrow("small order");
    const with_weak_r = concatenate(weak, signature.slice(32));
    await expect(verifySignature(public_key, MESSAGE, with_weak_r)).rejects.toThrow("small order");
    expect(verify).not.toHaveBeenCalled();
    verify.mockRestore();
  });
});

describe("a public key", () => {
  test("that is not 32 bytes of base64url is refused", async () => {
    const { public_key, signature } = await signed();
    for (const length of [0, 31, 33]) {
      const key = toBase64url(new Uint8Array(length).fill(2));
      await expect(verifySignature(key, MESSAGE, signature)).rejects.toThrow(BadSignature);
    }
    for (const text of [`${public_key}=`, public_key.slice(0, -1), "+".repeat(43)]) {
      await expect(verifySignature(text, MESSAGE, signature)).rejects.toThrow(MalformedMessage);
    }
  });

  test("that is on no point is refused", async () => {
    const { signature } = await signed();
    for (const y of [2n, 7n, 8n]) {
      await expect(verifySignature(littleEndianKey(y), MESSAGE, signature)).rejects.toThrow(BadSignature);
    }
  });

  test("is not blamed where the runtime fails", async () => {
    const { public_key, signature } = await signed();
    const failing = vi
      .spyOn(crypto.subtle, "importKey")
      .mockRejectedValue(new DOMException("no Ed25519 here", "NotSupportedError"));
    await expect(verifySignature(public_key, MESSAGE, signature)).rejects.toThrow("no Ed25519 here");
    failing.mockRestore();
  });
});

test("the fixed key of the protocol's example", async () => {
  const signer = await seededSigner(countingSeed(0));
  expect(signer.public_key).toBe("A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg");
  expect(fromBase64url(signer.public_key)).toHaveLength(32);
});

// FIPS 180-4 example values.
test.each([
  ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
  ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
])("SHA-256 of %j", async (text, hex) => {
  expect(await sha256Hex(toUtf8(text))).toBe(hex);
});
