/** The published tariff, as provenance/tariff.py of the network defines it: base units of the token, 6 decimals. */
export const TARIFF = { version: "v1", page_units: 400, kib_units: 4 } as const;

/** What a page earns whose body crossed the wire with this many bytes and whose status was 200 to 299. */
export function rewardOf(wire_bytes: number): number {
  return TARIFF.page_units + TARIFF.kib_units * Math.ceil(wire_bytes / 1024);
}
