/** The record: a node's signed statement of what it fetched (PROTOCOL.md, section 4). */

import rules from "../../schema/rules-v1.json";
import { NotForMe } from "./errors.ts";
import { openSelfSigned, type Statement } from "./statements.ts";
import type { Header, Job, Record } from "./types.ts";

/** Response headers a record keeps, in this order. */
export const RECORDED_HEADERS = rules.recorded_headers as readonly Header[0][];

/** What was asked of a node with one lease of a job: what its record repeats. */
export type Asked = Pick<Record, "job_id" | "lease" | "job_hash" | "node_key" | "url" | "purpose" | "mode">;

/** Verify a record by the node key it names. */
export function openRecord(statement: Statement): Promise<Record> {
  return openSelfSigned(statement, "record", "node_key");
}

/** Return what a signed job asks; `job_hash` is its statement's digest. */
export function askedBy(job: Job, job_hash: string): Asked {
  const { job_id, lease, node_key, url, purpose, mode } = job;
  return { job_id, lease, job_hash, node_key, url, purpose, mode };
}

/** Throw NotForMe unless the record answers exactly this lease of this job. */
export function checkAnswers(record: Record, asked: Asked): void {
  for (const field of ["job_id", "lease", "job_hash", "node_key", "url", "purpose", "mode"] as const) {
    if (record[field] !== asked[field]) throw new NotForMe(`the record's ${field} is not the job's`);
  }
}
