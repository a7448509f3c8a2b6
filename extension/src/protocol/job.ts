/** The job a dispatcher sends to one node, and the certificate of the key that signs it (PROTOCOL.md, section 3). */

import { Expired, NotForMe } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { openSelfSigned, openStatement, type Statement } from "./statements.ts";
import type { Certificate, Job } from "./types.ts";

/** Verify a certificate, that it is valid now, and, where `root_key` is given, that this root issued it. */
export async function openCertificate(
  statement: Statement,
  { now_ms, root_key }: { readonly now_ms: number; readonly root_key: string | null },
): Promise<Certificate> {
  const certificate = await openSelfSigned(statement, "certificate", "root_key");
  if (root_key !== null && certificate.root_key !== root_key) {
    throw new NotForMe("the dispatcher's root key is not the one this node trusts");
  }
  checkValidity(
    "job-key certificate",
    certificate.not_before_ms - LIMITS.CLOCK_SKEW_MS,
    certificate.not_after_ms,
    now_ms,
  );
  return certificate;
}

/** Verify a job: signed by the certified key, for this node, and in its time. */
export async function openJob(
  statement: Statement,
  {
    certificate,
    node_key,
    now_ms,
  }: { readonly certificate: Certificate; readonly node_key: string; readonly now_ms: number },
): Promise<Job> {
  const job = await openStatement(statement, "job", certificate.job_key);
  if (job.node_key !== node_key) throw new NotForMe("the job is leased to another node");
  checkValidity("job", job.issued_ms - LIMITS.CLOCK_SKEW_MS, job.expires_ms, now_ms);
  return job;
}

/** Throw Expired unless from_ms <= now_ms < until_ms. */
export function checkValidity(what: string, from_ms: number, until_ms: number, now_ms: number): void {
  if (now_ms < from_ms) {
    throw new Expired(`the ${what} is dated ${from_ms - now_ms} ms ahead of this clock; check the clock`);
  }
  if (now_ms >= until_ms) throw new Expired(`the ${what} expired ${now_ms - until_ms} ms ago`);
}
