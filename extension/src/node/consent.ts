/**
 * The owner's consent. Its words stand on the consent page; a change of them that alters what is done raises
 * `TERMS_VERSION`, and every owner is then asked again.
 */
import type { Acceptance } from "./owner_state.ts";

export const TERMS_VERSION = 1;

/** Whether the terms as they stand now were accepted. */
export function isAccepted(acceptance: Acceptance | null): boolean {
  return acceptance !== null && acceptance.version === TERMS_VERSION;
}
