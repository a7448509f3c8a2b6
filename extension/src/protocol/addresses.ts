/**
 * Which addresses may be connected to (PROTOCOL.md, section 10.2). Tables come from `schema/rules-v1.json`.
 *
 * Sources: IANA special-purpose address registries (IPv4 and IPv6), RFC 6890, RFC 4291 (section 2.2), RFC 5214 (ISATAP).
 */

import rules from "../../schema/rules-v1.json";
import type { UrlRefusal } from "./refusal.ts";

interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

interface Network extends Address {
  readonly prefix_bits: number;
}

const OCTET = /^(?:0|[1-9][0-9]{0,2})(?![\s\S])/;
const GROUP = /^[0-9a-fA-F]{1,4}(?![\s\S])/;
const PREFIX = /^(?:0|[1-9][0-9]{0,2})(?![\s\S])/;
const GROUPS = 8;

const IPV4_DENIED = rules.ipv4_denied.map(parseNetwork);
const IPV6_ALLOWED = parseNetwork(rules.ipv6_allowed);
const IPV6_DENIED = rules.ipv6_denied.map(parseNetwork);
const ISATAP_INTERFACE_IDS: ReadonlySet<bigint> = new Set(rules.isatap_interface_ids.map(BigInt));

/**
 * Check an IP address (text, without brackets); null where it may be connected to. `own_networks` are this machine's
 * interface addresses, public address and on-link prefixes in CIDR notation; RangeError where one of them is not.
 */
export function checkAddress(address: string, own_networks: readonly string[] = []): UrlRefusal | null {
  if (address.includes("%")) return { reason: "zone_id", detail: "the address carries a zone id" };
  const parsed = parseAddress(address);
  if (parsed === null) return { reason: "malformed", detail: "not an IP address" };
  if (isDenied(parsed)) return { reason: "private_address", detail: "the address is not on the public internet" };
  if (own_networks.some((network) => contains(parseNetwork(network), parsed))) {
    return { reason: "own_network", detail: "the address is in this machine's own network" };
  }
  return null;
}

/** Check a whole DNS answer: one denied address refuses all of it. */
export function checkAnswer(addresses: readonly string[], own_networks: readonly string[] = []): UrlRefusal | null {
  for (const address of addresses) {
    const refusal = checkAddress(address, own_networks);
    if (refusal !== null) return refusal;
  }
  return null;
}

/** Tell whether a text is an IPv4 address in dotted decimal, or an IPv6 address without brackets or zone id. */
export function isAddress(text: string): boolean {
  return parseAddress(text) !== null;
}

function isDenied(address: Address): boolean {
  if (address.bits === 32) return IPV4_DENIED.some((network) => contains(network, address));
  if (!contains(IPV6_ALLOWED, address) || IPV6_DENIED.some((network) => contains(network, address))) return true;
  return ISATAP_INTERFACE_IDS.has((address.value >> 32n) & 0xffff_ffffn);
}

function contains(network: Network, address: Address): boolean {
  if (network.bits !== address.bits) return false;
  const host_bits = BigInt(network.bits - network.prefix_bits);
  return network.value >> host_bits === address.value >> host_bits;
}

function parseNetwork(text: string): Network {
  const [address = "", prefix, ...rest] = text.split("/");
  const parsed = parseAddress(address);
  const prefix_bits = prefix === undefined ? parsed?.bits : PREFIX.test(prefix) ? Number(prefix) : undefined;
  if (parsed === null || prefix_bits === undefined || prefix_bits > parsed.bits || rest.length > 0) {
    throw new RangeError(`a network is ADDRESS/BITS, as 192.168.1.0/24; got ${JSON.stringify(text.slice(0, 60))}`);
  }
  return { ...parsed, prefix_bits };
}

function parseAddress(text: string): Address | null {
  const value = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
  return value === null ? null : { bits: text.includes(":") ? 128 : 32, value };
}

/** Strict dotted decimal: four numbers up to 255 without leading zeros. */
function parseIpv4(text: string): bigint | null {
  const octets = text.split(".", 5);
  if (octets.length !== 4) return null;
  let value = 0n;
  for (const octet of octets) {
    if (!OCTET.test(octet) || Number(octet) > 255) return null;
    value = (value << 8n) | BigInt(octet);
  }
  return value;
}

/** RFC 4291, section 2.2: eight groups, one run of zeros as `::`, the last two groups maybe in dotted decimal. */
function parseIpv6(text: string): bigint | null {
  const halves = text.split("::", 3);
  if (halves.length > 2) return null;
  const [head, tail] = halves.map((half, place) => groupsOf(half, place === halves.length - 1));
  if (head === null || head === undefined || tail === null) return null;
  const given = head.length + (tail?.length ?? 0);
  if (tail === undefined ? given !== GROUPS : given >= GROUPS) return null;
  const groups = [...head, ...Array<bigint>(GROUPS - given).fill(0n), ...(tail ?? [])];
  return groups.reduce((value, group) => (value << 16n) | group, 0n);
}

function groupsOf(text: string, is_last: boolean): bigint[] | null {
  if (text === "") return [];
  const groups: bigint[] = [];
  const parts = text.split(":", GROUPS + 1);
  for (const [place, part] of parts.entries()) {
    if (GROUP.test(part)) {
      groups.push(BigInt(`0x${part}`));
      continue;
    }
    const dotted = is_last && place === parts.length - 1 ? parseIpv4(part) : null;
    if (dotted === null) return null;
    groups.push(dotted >> 16n, dotted & 0xffffn);
  }
  return groups;
}
