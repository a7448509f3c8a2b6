// Exported from protocol/: change it there, then run `make schema`.
// Field meanings and bounds stand in protocol/PROTOCOL.md.

export interface Certificate {
  readonly v: 1;
  readonly root_key: string;
  readonly job_key: string;
  readonly serial: number;
  readonly not_before_ms: number;
  readonly not_after_ms: number;
}

export interface Job {
  readonly v: 1;
  readonly job_id: string;
  readonly lease: number;
  readonly node_key: string;
  readonly url: string;
  readonly method: "GET";
  readonly mode: "direct" | "relayed";
  readonly purpose: "archive" | "monitoring" | "rag" | "research" | "search" | "train-ai";
  readonly accept_language: string | null;
  readonly max_wire_bytes: number;
  readonly max_body_bytes: number;
  readonly max_redirects: number;
  readonly timeout_ms: number;
  readonly issued_ms: number;
  readonly expires_ms: number;
}

export interface Record {
  readonly v: 1;
  readonly job_id: string;
  readonly lease: number;
  readonly job_hash: string;
  readonly node_key: string;
  readonly wallet: string;
  readonly url: string;
  readonly final_url: string;
  readonly hops: readonly string[];
  readonly mode: "direct" | "relayed";
  readonly purpose: "archive" | "monitoring" | "rag" | "research" | "search" | "train-ai";
  readonly status: number;
  readonly headers: readonly Header[];
  readonly content_type: string | null;
  readonly content_encoding: "br" | "deflate" | "gzip" | "identity" | "zstd";
  readonly body_hash: string;
  readonly body_bytes: number;
  readonly wire_bytes: number;
  readonly started_ms: number;
  readonly finished_ms: number;
  readonly evidence: readonly string[];
}

export type Header = readonly ["content-language" | "content-usage" | "etag" | "last-modified" | "link" | "retry-after" | "tdm-policy" | "tdm-reservation" | "x-robots-tag", string];

export interface Hello {
  readonly v: 1;
  readonly nonce: string;
  readonly audience: string;
  readonly expires_ms: number;
  readonly node_key: string;
  readonly wallet: string;
  readonly agent: string;
  readonly country: string | null;
  readonly modes: readonly ("direct" | "relayed")[];
  readonly purposes: readonly ("archive" | "monitoring" | "rag" | "research" | "search" | "train-ai")[];
  readonly max_concurrent_jobs: number;
}

export interface Challenge {
  readonly type: "challenge";
  readonly v: number;
  readonly nonce: string;
  readonly audience: string;
  readonly time_ms: number;
  readonly expires_ms: number;
  readonly certificate: string;
}

export interface Welcome {
  readonly type: "welcome";
  readonly session_id: string;
  readonly ping_interval_ms: number;
  readonly time_ms: number;
  readonly your_address: string | null;
}

export interface Accept {
  readonly type: "accept";
  readonly job_id: string;
  readonly lease: number;
}

export interface Refuse {
  readonly type: "refuse";
  readonly job_id: string;
  readonly lease: number;
  readonly reason: RefusalCode;
  readonly detail: string;
}

export type RefusalCode = "address_refused" | "bad_signature" | "blocked_by_owner" | "busy" | "cap_reached" | "expired" | "not_for_me" | "outside_schedule" | "paused" | "purpose_not_allowed" | "stopping" | "unsupported_mode" | "url_refused";

export interface Failure {
  readonly type: "failure";
  readonly job_id: string;
  readonly lease: number;
  readonly reason: FailureCode;
  readonly detail: string;
}

export type FailureCode = "bad_response" | "body_corrupt" | "body_too_large" | "connect_failed" | "dns_failed" | "hop_refused" | "timeout" | "tls_failed" | "too_many_redirects";

export interface Hop {
  readonly type: "hop";
  readonly job_id: string;
  readonly lease: number;
  readonly url: string;
}

export interface HopVerdict {
  readonly type: "hop_verdict";
  readonly job_id: string;
  readonly lease: number;
  readonly url: string;
  readonly allowed: boolean;
  readonly reason: string;
}

export interface Ack {
  readonly type: "ack";
  readonly job_id: string;
  readonly lease: number;
  readonly outcome: "duplicate" | "noted" | "rejected" | "stale" | "stored";
  readonly reason: string;
  readonly reward: number;
  readonly log_index: number | null;
}

export interface Cancel {
  readonly type: "cancel";
  readonly job_id: string;
  readonly lease: number;
  readonly reason: string;
}

export interface Availability {
  readonly type: "availability";
  readonly max_concurrent_jobs: number;
  readonly reason: string;
}

export interface Ping {
  readonly type: "ping";
  readonly time_ms: number;
}

export interface Pong {
  readonly type: "pong";
  readonly time_ms: number;
}

export interface Balance {
  readonly type: "balance";
  readonly pending: number;
  readonly confirmed: number;
  readonly paid: number;
  readonly void: number;
  readonly time_ms: number;
}

export interface Reputation {
  readonly type: "reputation";
  readonly score: number;
  readonly parts: readonly ReputationPart[];
  readonly time_ms: number;
}

export interface ReputationPart {
  readonly name: string;
  readonly value: number;
  readonly reason: string;
}

export interface Drain {
  readonly type: "drain";
  readonly reconnect_after_ms: number;
}

export interface SessionError {
  readonly type: "error";
  readonly code: string;
  readonly detail: string;
}

export interface DatasetStatement {
  readonly v: 1;
  readonly dataset_id: string;
  readonly batch_id: string;
  readonly rows: number;
  readonly root: string;
  readonly dropped_hash: string;
  readonly created_ms: number;
  readonly signer: string;
}

export interface Row {
  readonly url: string;
  readonly final_url: string;
  readonly fetched_ms: number;
  readonly status: number;
  readonly content_type: string | null;
  readonly title: string | null;
  readonly author: string | null;
  readonly published: string | null;
  readonly language: string | null;
  readonly page_type: string;
  readonly text: string;
  readonly markdown: string;
  readonly links: readonly RowLink[];
  readonly tables: readonly RowTable[];
  readonly structured_data: readonly string[];
  readonly provenance: RowProvenance;
}

export interface RowLink {
  readonly url: string;
  readonly text: string;
}

export interface RowTable {
  readonly caption: string | null;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface RowProvenance {
  readonly content_hash: string;
  readonly record: string;
  readonly log_origin: string;
  readonly log_index: number;
  readonly integrity: "canaried" | "direct" | "relayed" | "replicated";
}
