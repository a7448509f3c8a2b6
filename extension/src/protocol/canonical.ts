/** Canonical JSON of signed payloads and dataset rows (PROTOCOL.md, section 2.3). */

import { type Bytes, fromUtf8, toUtf8 } from "./bytes.ts";
import { NotCanonical } from "./errors.ts";
import { readJson } from "./json_text.ts";
import { readValue, writeRead, writeValue } from "./schema.ts";
import type { Certificate, DatasetStatement, Hello, Job, Record, Row } from "./types.ts";

/** What has a canonical form, by its name in the schema. */
export interface Payloads {
  readonly Certificate: Certificate;
  readonly Job: Job;
  readonly Record: Record;
  readonly Hello: Hello;
  readonly DatasetStatement: DatasetStatement;
  readonly Row: Row;
}

/** Encode a payload: members in the table's order, no white space. MalformedMessage where it is outside of bounds. */
export function encodeCanonical<Name extends keyof Payloads>(name: Name, value: Payloads[Name]): Bytes {
  return toUtf8(writeValue(name, value));
}

/** Decode canonical JSON; MalformedMessage for no such payload, NotCanonical where the same value has other bytes. */
export function decodeCanonical<Name extends keyof Payloads>(name: Name, bytes: Uint8Array): Payloads[Name] {
  const text = fromUtf8(bytes);
  const value = readValue(name, readJson(text)) as Payloads[Name];
  if (writeRead(name, value) !== text) throw new NotCanonical(`the bytes of this ${name} are not its canonical form`);
  return value;
}
