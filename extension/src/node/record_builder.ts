/** From a fetched page to the signed record that travels with it (PROTOCOL.md, section 4). */
import type { Signer } from "../protocol/keys.ts";
import { LIMITS } from "../protocol/limits.ts";
import { RECORDED_HEADERS } from "../protocol/record.ts";
import { type Statement, sign } from "../protocol/statements.ts";
import type { Header } from "../protocol/types.ts";
import type { FetchedPage } from "./fetching.ts";
import type { AllowedJob } from "./job_check.ts";

/** A field value without control characters but the tab (RFC 9110, section 5.5), decoded as Latin-1. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Who fetched, for which wallet, and when the fetch began and its last byte came (UTC ms). */
export interface FetchedBy {
  readonly signer: Signer;
  readonly wallet: string;
  readonly started_ms: number;
  readonly finished_ms: number;
}

/** Sign what was fetched for a job. */
export async function buildRecord(allowed: AllowedJob, page: FetchedPage, by: FetchedBy): Promise<Statement> {
  const { job } = allowed;
  return await sign(
    "record",
    {
      v: 1,
      job_id: job.job_id,
      lease: job.lease,
      job_hash: allowed.job_hash,
      node_key: by.signer.public_key,
      wallet: by.wallet,
      url: job.url,
      final_url: page.final_url,
      hops: page.hops,
      mode: job.mode,
      purpose: job.purpose,
      status: page.status,
      headers: recordedHeaders(page.headers),
      content_type: joined(page.headers, "content-type"),
      content_encoding: page.content_encoding,
      body_hash: page.body_hash,
      body_bytes: page.body_bytes,
      wire_bytes: page.payload.byteLength,
      started_ms: by.started_ms,
      finished_ms: by.finished_ms,
      evidence: [],
    },
    by.signer,
  );
}

/** Keep the headers a record keeps, in its order; a repeated one is joined by commas (RFC 9110, section 5.3). */
export function recordedHeaders(headers: FetchedPage["headers"]): Header[] {
  return RECORDED_HEADERS.flatMap((name): Header[] => {
    const value = joined(headers, name);
    return value === null ? [] : [[name, value]];
  });
}

function joined(headers: FetchedPage["headers"], wanted: string): string | null {
  const values = headers.filter(([name]) => name === wanted).map(([, value]) => value);
  const value = values.join(", ");
  const isKept = values.length > 0 && value.length <= LIMITS.HEADER_VALUE_BYTES && FIELD_VALUE.test(value);
  return isKept ? value : null;
}
