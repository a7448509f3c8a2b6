/**
 * Signed statements: one envelope for everything that is signed (PROTOCOL.md, section 2).
 *
 *     offset  size  field
 *     0       1     kind
 *     1       4     payload length n, big-endian
 *     5       64    Ed25519 signature over  "meadow/v1/" + kind name + "\n" + payload
 *     69      n     payload: canonical JSON
 *     69 + n  *     attachment: the content-encoded body of a record; empty for every other kind
 */

import rules from "../../schema/rules-v1.json";
import { type Bytes, concatenate, toUtf8 } from "./bytes.ts";
import { decodeCanonical, encodeCanonical, type Payloads } from "./canonical.ts";
import { MalformedMessage, WrongKind } from "./errors.ts";
import { SIGNATURE_BYTES, type Signer, sha256Hex, verifySignature } from "./keys.ts";
import { LIMITS } from "./limits.ts";

/** What a statement says. The name is part of the signed bytes: a signature holds for one kind. */
export type KindName = keyof typeof rules.statement_kinds;

const PAYLOAD_NAMES = {
  certificate: "Certificate",
  job: "Job",
  record: "Record",
  dataset: "DatasetStatement",
  hello: "Hello",
} as const satisfies { readonly [Kind in KindName]: keyof Payloads };

/** The payload of each kind of statement. */
export type PayloadOf<Kind extends KindName> = Payloads[(typeof PAYLOAD_NAMES)[Kind]];

/** A decoded envelope. Nothing is verified yet; `payload` is the exact bytes the signature is over. */
export interface Statement {
  readonly kind: KindName;
  readonly signature: Bytes;
  readonly payload: Bytes;
}

/** The bytes before the payload. */
export const HEADER_BYTES = 1 + 4 + SIGNATURE_BYTES;

const KINDS = new Map(Object.entries(rules.statement_kinds).map(([name, byte]) => [byte, name as KindName]));

/** Encode without an attachment: what is stored, logged, hashed and shown to auditors. */
export function toBytes(statement: Statement): Bytes {
  const head = new Uint8Array(5);
  head[0] = rules.statement_kinds[statement.kind];
  new DataView(head.buffer).setUint32(1, statement.payload.length);
  return concatenate(head, statement.signature, statement.payload);
}

/** SHA-256 of the encoded statement, lower-case hexadecimal. */
export function digest(statement: Statement): Promise<string> {
  return sha256Hex(toBytes(statement));
}

/** Return what is signed: the domain prefix of the kind, then the payload. */
export function signedBytes(kind: KindName, payload: Uint8Array): Bytes {
  return concatenate(toUtf8(`${rules.signature_domain}${kind}\n`), payload);
}

/** Sign a payload; MalformedMessage where it is outside of its bounds. */
export async function sign<Kind extends KindName>(
  kind: Kind,
  value: PayloadOf<Kind>,
  signer: Signer,
): Promise<Statement> {
  const payload = encodeCanonical<keyof Payloads>(PAYLOAD_NAMES[kind], value);
  checkLength(payload.length);
  return { kind, signature: await signer.sign(signedBytes(kind, payload)), payload };
}

/** Check kind and signature; WrongKind or BadSignature. */
export async function verify(statement: Statement, kind: KindName, public_key: string): Promise<void> {
  checkKind(statement, kind);
  await verifySignature(public_key, signedBytes(kind, statement.payload), statement.signature);
}

/** Take a binary frame apart into its statement and its attachment, which borrows the frame's memory. */
export function split(frame: Bytes): { readonly statement: Statement; readonly attachment: Bytes } {
  if (frame.length < HEADER_BYTES) {
    throw new MalformedMessage(`a statement has at least ${HEADER_BYTES} bytes, got ${frame.length}`);
  }
  const view = new DataView(frame.buffer, frame.byteOffset);
  const kind = KINDS.get(view.getUint8(0));
  if (kind === undefined) throw new WrongKind(`no statement has kind ${view.getUint8(0)}`);
  const length = view.getUint32(1);
  checkLength(length);
  const end = HEADER_BYTES + length;
  if (frame.length < end) {
    throw new MalformedMessage(`the payload is cut short: ${frame.length - HEADER_BYTES} of ${length} bytes`);
  }
  const statement = { kind, signature: frame.slice(5, HEADER_BYTES), payload: frame.slice(HEADER_BYTES, end) };
  return { statement, attachment: frame.subarray(end) };
}

/** Decode a statement that must have no attachment. */
export function parse(frame: Bytes): Statement {
  const { statement, attachment } = split(frame);
  if (attachment.length > 0) throw new MalformedMessage(`${attachment.length} bytes follow the statement`);
  return statement;
}

/** Verify a statement and decode its payload. */
export async function openStatement<Kind extends KindName>(
  statement: Statement,
  kind: Kind,
  public_key: string,
): Promise<PayloadOf<Kind>> {
  await verify(statement, kind, public_key);
  return payloadOf(statement, kind);
}

/** Decode a payload that names its own signer in `field`, then verify the signature with that key. */
export async function openSelfSigned<Kind extends KindName>(
  statement: Statement,
  kind: Kind,
  field: KeyField<PayloadOf<Kind>>,
): Promise<PayloadOf<Kind>> {
  checkKind(statement, kind);
  const value = payloadOf(statement, kind);
  await verify(statement, kind, String(value[field]));
  return value;
}

/** Decode the payload of a statement whose signature is not checked here; WrongKind for another kind. */
export function payloadOf<Kind extends KindName>(statement: Statement, kind: Kind): PayloadOf<Kind> {
  checkKind(statement, kind);
  return decodeCanonical(PAYLOAD_NAMES[kind], statement.payload);
}

/** The members of a payload that hold a text, among them the key that signs it. */
type KeyField<Payload> = { [Field in keyof Payload]: Payload[Field] extends string ? Field : never }[keyof Payload];

function checkKind(statement: Statement, kind: KindName): void {
  if (statement.kind !== kind) throw new WrongKind(`expected a ${kind}, got a ${statement.kind}`);
}

function checkLength(payload_bytes: number): void {
  if (payload_bytes > LIMITS.STATEMENT_PAYLOAD_BYTES) {
    throw new MalformedMessage(`a statement's payload is limited to ${LIMITS.STATEMENT_PAYLOAD_BYTES} bytes`);
  }
}
