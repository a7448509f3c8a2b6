/** Why a URL or an address is refused (PROTOCOL.md, section 10). Refusals are values, not errors. */

/** Why a URL or an address is refused. */
export type UrlReason =
  | "malformed"
  | "too_long"
  | "scheme"
  | "userinfo"
  | "port"
  | "host_name"
  | "private_address"
  | "own_network"
  | "zone_id";

/** A URL or address that may not be used, and why, in words for its owner. */
export interface UrlRefusal {
  readonly reason: UrlReason;
  readonly detail: string;
}
