/** The networks that count as the sharer's own, from the address that a dispatcher sees (PROTOCOL.md, section 10.2). */
import { isAddress } from "../protocol/addresses.ts";

/** What belongs to the sharer of an address: an IPv4 address alone, the /48 of an IPv6 one; null where it is none. */
export function ownNetwork(address: string | null): string | null {
  if (address === null || !isAddress(address)) return null;
  return address.includes(":") ? `${address}/48` : `${address}/32`;
}
