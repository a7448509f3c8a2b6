/**
 * Every check of one job before anything is fetched (PROTOCOL.md, sections 3, 6 and 10).
 *
 * The dispatcher made most of these checks already. The node makes them again: it obeys its owner and the protocol's
 * rules, and takes nobody's word for either.
 */
import { decodeCanonical } from "../protocol/canonical.ts";
import { BadSignature, Expired, NotForMe, WrongKind } from "../protocol/errors.ts";
import { checkValidity, openJob } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import { digest, type Statement } from "../protocol/statements.ts";
import type { Certificate, Job, RefusalCode, Refuse } from "../protocol/types.ts";
import { checkUrl, isRefusal } from "../protocol/urls.ts";
import type { FetchOrder } from "./fetching.ts";
import type { UsageToday } from "./journal.ts";
import type { LeaseKey } from "./outbox.ts";
import { checkHost, checkMoment, checkPurpose, type Denial, type Moment, type Surroundings } from "./owner_rules.ts";
import type { OwnerRules } from "./owner_state.ts";

export type { Surroundings } from "./owner_rules.ts";

const LANGUAGES = /^[A-Za-z0-9*,;=.\- ]{1,200}$/;

/** A job that passed every check. `job_hash` is the digest of its statement, as the record names it. */
export interface AllowedJob {
  readonly job: Job;
  readonly job_hash: string;
  readonly order: FetchOrder;
}

/** A job that is not fetched. `job` is null where its signature does not hold: nothing in it can be believed. */
export interface RefusedJob {
  readonly answer: Refuse;
  readonly job: Job | null;
}

/** How the node stands at the moment of a check. */
export interface Standing {
  readonly rules: OwnerRules;
  readonly moment: Moment;
  readonly usage: UsageToday;
  readonly surroundings: Surroundings;
  readonly jobs_in_hand: number;
  readonly is_stopping: boolean;
  readonly results_are_full: boolean;
}

/** What a job is held against besides its own words. `node_key` is this node's. */
export interface CheckContext {
  readonly certificate: Certificate;
  readonly node_key: string;
  readonly standing: Standing;
}

/** Check a job. Rejects with MalformedMessage, NotCanonical or WrongKind where the bytes are no job at all. */
export async function checkJob(statement: Statement, context: CheckContext): Promise<AllowedJob | RefusedJob> {
  const { certificate, node_key, standing } = context;
  const { now_ms } = standing.moment;
  let job: Job;
  try {
    checkValidity("job-key certificate", 0, certificate.not_after_ms, now_ms);
    job = await openJob(statement, { certificate, node_key, now_ms });
  } catch (error) {
    if (error instanceof BadSignature) return refuseUnverified(statement, "bad_signature", error.message);
    if (error instanceof NotForMe) return refuseUnverified(statement, "not_for_me", error.message);
    if (error instanceof Expired) return refuseUnverified(statement, "expired", error.message);
    throw error;
  }
  const checked = checkContent(job, standing);
  if ("code" in checked) {
    const { job_id, lease } = job;
    return { answer: { type: "refuse", job_id, lease, reason: checked.code, detail: checked.detail }, job };
  }
  return { job, job_hash: await digest(statement), order: checked };
}

/** Whether a checked job may be fetched. */
export function isAllowed(checked: AllowedJob | RefusedJob): checked is AllowedJob {
  return "order" in checked;
}

function checkContent(job: Job, standing: Standing): FetchOrder | Denial {
  const { rules, moment } = standing;
  if (job.mode !== "direct") {
    return { code: "unsupported_mode", detail: `this node fetches directly; ${job.mode} is not supported` };
  }
  if (job.accept_language !== null && !LANGUAGES.test(job.accept_language)) {
    return { code: "unsupported_mode", detail: "accept_language is no list of languages (RFC 9110, 12.5.4)" };
  }
  const url = checkUrl(job.url);
  if (isRefusal(url)) return { code: "url_refused", detail: `${url.reason}: ${url.detail}` };
  if (url.href !== job.url) {
    return { code: "unsupported_mode", detail: "this browser reads the URL in another way than the dispatcher" };
  }
  const denial =
    checkHost(rules, url.host) ??
    checkPurpose(rules, job.purpose) ??
    (standing.is_stopping ? ({ code: "stopping", detail: "the node is stopping" } as const) : null) ??
    checkMoment(rules, moment, standing.usage, standing.surroundings);
  if (denial !== null) return denial;
  if (standing.results_are_full) {
    return { code: "busy", detail: "too many results wait for the dispatcher's acknowledgement" };
  }
  if (standing.jobs_in_hand >= rules.max_concurrent_jobs) {
    return { code: "busy", detail: `${standing.jobs_in_hand} jobs are in hand already` };
  }
  return {
    url,
    accept_language: job.accept_language,
    max_wire_bytes: clamp(job.max_wire_bytes, LIMITS.WIRE_BYTES),
    max_body_bytes: clamp(job.max_body_bytes, LIMITS.BODY_BYTES),
    max_redirects: clamp(job.max_redirects, LIMITS.REDIRECTS),
    timeout_ms: clamp(Math.min(job.timeout_ms, job.expires_ms - moment.now_ms), LIMITS.JOB_LIFETIME_MS),
  };
}

function clamp(value: number, largest: number): number {
  return Math.max(0, Math.min(value, largest));
}

/**
 * Read job id and lease of a job whose signature was not checked: good for an answer, for nothing else. Throws
 * MalformedMessage, NotCanonical or WrongKind where the bytes are no job.
 */
export function claimedLease(statement: Statement): LeaseKey {
  if (statement.kind !== "job") throw new WrongKind(`expected a job, got a ${statement.kind}`);
  const { job_id, lease } = decodeCanonical("Job", statement.payload);
  return { job_id, lease };
}

function refuseUnverified(statement: Statement, reason: RefusalCode, detail: string): RefusedJob {
  return { answer: { type: "refuse", ...claimedLease(statement), reason, detail }, job: null };
}
