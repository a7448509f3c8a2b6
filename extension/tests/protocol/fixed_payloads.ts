/** Fixed payloads for tests: every member set, within its bounds. */
import type { Hello, Job, Record } from "../../src/protocol/types.ts";

export const NOW_MS = 1_800_000_000_000;
export const JOB_ID = "01a3185c-5000-7000-8000-000000000001";
export const NODE_KEY = "JUO5L_EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0";
export const WALLET = "2Zqh2jyHWKtqxGy4zMjicNRFq6EPa5JMkhxKTkyVP2yJ";
const URL_ASKED = "https://example.org/articles?id=7";

export const JOB: Job = {
  v: 1,
  job_id: JOB_ID,
  lease: 1_843_200_000_000_001,
  node_key: NODE_KEY,
  url: URL_ASKED,
  method: "GET",
  mode: "direct",
  purpose: "search",
  accept_language: "de, en;q=0.5",
  max_wire_bytes: 5_242_880,
  max_body_bytes: 20_971_520,
  max_redirects: 5,
  timeout_ms: 30_000,
  issued_ms: NOW_MS,
  expires_ms: NOW_MS + 120_000,
};

export const HELLO: Hello = {
  v: 1,
  nonce: "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8",
  audience: "wss://gateway.example.org",
  expires_ms: NOW_MS + 30_000,
  node_key: NODE_KEY,
  wallet: WALLET,
  agent: "meadow-node/0.1.0",
  country: "PT",
  modes: ["direct"],
  purposes: ["search", "research"],
  max_concurrent_jobs: 4,
};

export const RECORD: Record = {
  v: 1,
  job_id: JOB_ID,
  lease: JOB.lease,
  job_hash: "6b0395e6e20cbd283640de1ec23e628e392cf55fe2e4086b7f70c1a885913ce8",
  node_key: NODE_KEY,
  wallet: WALLET,
  url: URL_ASKED,
  final_url: "https://www.example.org/articles?id=7",
  hops: ["https://example.org/b"],
  mode: "direct",
  purpose: "search",
  status: 200,
  headers: [["etag", '"a1"']],
  content_type: "text/html; charset=utf-8",
  content_encoding: "gzip",
  body_hash: "ab".repeat(32),
  body_bytes: 58,
  wire_bytes: 40,
  started_ms: NOW_MS + 100,
  finished_ms: NOW_MS + 350,
  evidence: [],
};
