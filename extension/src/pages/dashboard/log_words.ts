/** What came of a job, in plain words. */
import type { LogEntry } from "../../node/journal.ts";
import type { Purpose } from "../../node/owner_state.ts";
import type { FailureCode, RefusalCode } from "../../protocol/types.ts";
import { isolate, type MessageKey, t } from "../text.ts";

/** Codes of refusals and failures (PROTOCOL.md, section 5.2). */
const REASONS: { readonly [Code in RefusalCode | FailureCode]: MessageKey } = {
  bad_signature: "dashboard_reason_bad_signature",
  expired: "dashboard_reason_expired",
  not_for_me: "dashboard_reason_not_for_me",
  url_refused: "dashboard_reason_url_refused",
  address_refused: "dashboard_reason_address_refused",
  unsupported_mode: "dashboard_reason_unsupported_mode",
  blocked_by_owner: "dashboard_reason_blocked_by_owner",
  purpose_not_allowed: "dashboard_reason_purpose_not_allowed",
  cap_reached: "dashboard_reason_cap_reached",
  outside_schedule: "dashboard_reason_outside_schedule",
  paused: "dashboard_reason_paused",
  busy: "dashboard_reason_busy",
  stopping: "dashboard_reason_stopping",
  dns_failed: "dashboard_reason_dns_failed",
  connect_failed: "dashboard_reason_connect_failed",
  tls_failed: "dashboard_reason_tls_failed",
  timeout: "dashboard_reason_timeout",
  bad_response: "dashboard_reason_bad_response",
  body_too_large: "dashboard_reason_body_too_large",
  body_corrupt: "dashboard_reason_body_corrupt",
  too_many_redirects: "dashboard_reason_too_many_redirects",
  hop_refused: "dashboard_reason_hop_refused",
};

/** Purposes as the protocol names them, and as people do. */
const PURPOSES: { readonly [Name in Purpose]: MessageKey } = {
  "train-ai": "dashboard_purpose_train_ai",
  search: "dashboard_purpose_search",
  rag: "dashboard_purpose_rag",
  research: "dashboard_purpose_research",
  archive: "dashboard_purpose_archive",
  monitoring: "dashboard_purpose_monitoring",
};

const REASON_KEYS: ReadonlyMap<string, MessageKey> = new Map(Object.entries(REASONS));
const PURPOSE_KEYS: ReadonlyMap<string, MessageKey> = new Map(Object.entries(PURPOSES));

/** A code in words; one that this version does not know is shown as it came. */
export function reasonWords(code: string): string {
  const key = REASON_KEYS.get(code);
  return key === undefined ? isolate(code) : t(key);
}

/** A purpose in words; an unknown one as it came. */
export function purposeWords(purpose: string): string {
  const key = PURPOSE_KEYS.get(purpose);
  return key === undefined ? isolate(purpose) : t(key);
}

/** One sentence: why the outcome is what it is, and what follows from it. */
export function outcomeWords(entry: Pick<LogEntry, "outcome" | "reason" | "detail">): string {
  switch (entry.outcome) {
    case "failed":
    case "refused":
      return reasonWords(entry.reason);
    case "noted":
      return t("dashboard_reason_noted");
    case "rejected":
      return entry.detail === "" ? t("dashboard_why_rejected") : t("dashboard_why_rejected_for", isolate(entry.detail));
    default:
      return t(`dashboard_why_${entry.outcome}`);
  }
}
