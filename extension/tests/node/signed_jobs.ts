/** Fresh keys, certificates and signed jobs, for tests. */
import { toBase64url } from "../../src/protocol/base64url.ts";
import type { Signer } from "../../src/protocol/keys.ts";
import { type Statement, sign } from "../../src/protocol/statements.ts";
import type { Certificate, Job } from "../../src/protocol/types.ts";

export const NOW_MS = 1_800_000_000_000;
export const WALLET = "11111111111111111111111111111112";

/** A new key pair that signs. */
export async function freshSigner(): Promise<Signer> {
  const pair = (await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"])) as CryptoKeyPair;
  return {
    public_key: toBase64url(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey))),
    sign: async (message) => new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, message)),
  };
}

/** A dispatcher's job key with its certificate, and the node it leases jobs to. */
export interface Parties {
  readonly job_key: Signer;
  readonly node: Signer;
  readonly certificate: Certificate;
}

export async function freshParties(): Promise<Parties> {
  const [root, job_key, node] = [await freshSigner(), await freshSigner(), await freshSigner()];
  const certificate: Certificate = {
    v: 1,
    root_key: root.public_key,
    job_key: job_key.public_key,
    serial: 1,
    not_before_ms: NOW_MS - 86_400_000,
    not_after_ms: NOW_MS + 86_400_000,
  };
  return { job_key, node, certificate };
}

/** A job that nothing is wrong with, but for `changes`. */
export function jobFor(parties: Parties, changes: Partial<Job> = {}): Job {
  return {
    v: 1,
    job_id: "01a3185c-5000-7000-8000-000000000001",
    lease: 7,
    node_key: parties.node.public_key,
    url: "https://example.org/articles?id=7",
    method: "GET",
    mode: "direct",
    purpose: "search",
    accept_language: null,
    max_wire_bytes: 5_242_880,
    max_body_bytes: 20_971_520,
    max_redirects: 5,
    timeout_ms: 30_000,
    issued_ms: NOW_MS - 1_000,
    expires_ms: NOW_MS + 119_000,
    ...changes,
  };
}

export async function signedJob(parties: Parties, changes: Partial<Job> = {}): Promise<Statement> {
  return await sign("job", jobFor(parties, changes), parties.job_key);
}
