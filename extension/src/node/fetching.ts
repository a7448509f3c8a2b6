/** A fetch: what is ordered, what comes back, and the questions that are asked on the way. */

import type { Failure, Refuse } from "../protocol/types.ts";
import type { AllowedUrl } from "../protocol/urls.ts";

export const USER_AGENT = "MeadowBot/0.1 (+https://meadow.example/bot)";

/** One page to fetch, already checked, with bounds already clamped to the protocol's. */
export interface FetchOrder {
  readonly url: AllowedUrl;
  readonly accept_language: string | null;
  readonly max_wire_bytes: number;
  readonly max_body_bytes: number;
  readonly max_redirects: number;
  readonly timeout_ms: number;
}

/**
 * A page. The browser decodes a body before anyone sees it, so `payload` is this node's own encoding of it
 * (`content_encoding`); hash and `body_bytes` are of the decoded body. `headers` are the response's: lower-case name,
 * value decoded as Latin-1.
 */
export interface FetchedPage {
  readonly final_url: string;
  readonly hops: readonly string[];
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly content_encoding: "gzip" | "identity";
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly body_hash: string;
  readonly body_bytes: number;
}

/**
 * A fetch that brought no page: a refusal by this node's rules, or a failure. `detail` names no address.
 * `sign` marks what the sharer has to know of: the browser's requests go through a proxy, so no address can be checked.
 */
export interface NotFetched {
  readonly kind: "refusal" | "failure";
  readonly reason: Refuse["reason"] | Failure["reason"];
  readonly detail: string;
  readonly sign?: "proxy";
}

export interface FetchHooks {
  /** Asked before a redirect is followed; null lets it pass. */
  askHop(url: AllowedUrl): Promise<NotFetched | null>;
  /** Told of bytes received over the network; false ends the fetch, for the owner's daily limit is reached. */
  countBytes(count: number): boolean;
  /** Aborted when the job is cancelled, the owner says stop, or the permission is withdrawn. */
  readonly signal: AbortSignal;
}

/** Performs fetches. Rejects only with the signal's reason. */
export interface Fetcher {
  fetch(order: FetchOrder, hooks: FetchHooks): Promise<FetchedPage | NotFetched>;
}

export function isPage(result: FetchedPage | NotFetched): result is FetchedPage {
  return "payload" in result;
}
