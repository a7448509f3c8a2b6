/**
 * What is kept in the browser's extension storage, key by key: the owner's word, and what the node says of itself.
 * Pages write `consent`, `rules`, `wallet` and `dispatcher`; the node writes the rest. Nothing that comes from the
 * network is ever written to the owner's keys.
 */
import network from "../../network.json";
import type { Job } from "../protocol/types.ts";

export type Purpose = Job["purpose"];

/** That the owner accepted a version of the terms, when (UTC ms). */
export interface Acceptance {
  readonly version: number;
  readonly accepted_ms: number;
}

/** `until_ms` null: off until the owner says otherwise. */
export interface Pause {
  readonly until_ms: number | null;
}

/** A span of local time in minutes since midnight, `start` until before `end`; it may pass midnight; equal: all day. */
export interface Hours {
  readonly start: number;
  readonly end: number;
}

/** The owner's word. null means no limit of that sort; empty `hours` means always. */
export interface OwnerRules {
  readonly pause: Pause | null;
  readonly blocked_domains: readonly string[];
  readonly purposes: readonly Purpose[];
  readonly hours: readonly Hours[];
  readonly daily_bytes: number | null;
  readonly daily_jobs: number | null;
  readonly max_concurrent_jobs: number;
  readonly only_on_wifi: boolean;
  readonly only_on_mains: boolean;
}

/** Where rewards go. `own`: a wallet this browser made, whose recovery key the owner can take out. */
export interface WalletChoice {
  readonly address: string;
  readonly own: boolean;
  readonly backed_up: boolean;
}

export type NodeState =
  | "no_consent"
  | "no_permission"
  | "connecting"
  | "connected"
  | "draining"
  | "paused"
  | "update_required"
  | "untrusted";

/**
 * What the node says of itself. `available` is how many jobs it takes at once now; 0 with the code of why in
 * `idle_reason` (a refusal code of the protocol, or `proxy`, `not_wifi`, `not_mains`, `results_waiting`, `storage`).
 * `trouble` is the last thing that went wrong with the connection, in words: hostile text. `dial_ms` is when it dials
 * again, `dial_failures` how often it failed since it last worked.
 */
export interface Standing {
  readonly state: NodeState;
  readonly since_ms: number;
  readonly dispatcher: string;
  readonly node_key: string;
  readonly available: number;
  readonly idle_reason: string;
  readonly jobs_in_hand: number;
  readonly trouble: string;
  readonly dial_ms: number | null;
  readonly dial_failures: number;
}

/** Base units of the token (6 decimals), as the dispatcher last said. */
export interface Earnings {
  readonly pending: number;
  readonly confirmed: number;
  readonly paid: number;
  readonly void: number;
  readonly time_ms: number;
}

/** One fact of a reputation. `value` is 0 to 1,000; `reason` says in words what it was made of. */
export interface ReputationPart {
  readonly name: string;
  readonly value: number;
  readonly reason: string;
}

/** The dispatcher's opinion of this node, 0 to 1,000, and what it is made of. */
export interface Reputation {
  readonly score: number;
  readonly parts: readonly ReputationPart[];
  readonly time_ms: number;
}

/** Every key of the storage area. A key that is absent has the value of `INITIAL_STATE`. */
export interface OwnerState {
  readonly consent: Acceptance | null;
  readonly rules: OwnerRules;
  readonly wallet: WalletChoice | null;
  readonly dispatcher: string;
  readonly pinned_root: string | null;
  readonly standing: Standing;
  readonly earnings: Earnings | null;
  readonly reputation: Reputation | null;
}

export const INITIAL_RULES: OwnerRules = {
  pause: null,
  blocked_domains: [],
  purposes: ["train-ai", "search", "rag", "research", "archive", "monitoring"],
  hours: [],
  daily_bytes: 500_000_000,
  daily_jobs: null,
  max_concurrent_jobs: 4,
  only_on_wifi: false,
  only_on_mains: false,
};

export const INITIAL_STANDING: Standing = {
  state: "no_consent",
  since_ms: 0,
  dispatcher: "",
  node_key: "",
  available: 0,
  idle_reason: "",
  jobs_in_hand: 0,
  trouble: "",
  dial_ms: null,
  dial_failures: 0,
};

export const INITIAL_STATE: OwnerState = {
  consent: null,
  rules: INITIAL_RULES,
  wallet: null,
  dispatcher: network.dispatcher,
  pinned_root: null,
  standing: INITIAL_STANDING,
  earnings: null,
  reputation: null,
};
