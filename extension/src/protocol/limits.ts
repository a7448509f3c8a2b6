/** The limits of PROTOCOL.md, section 8. Sizes in bytes, times in milliseconds. */

import rules from "../../schema/rules-v1.json";

/** Every limit by its name in the protocol. */
export const LIMITS: Readonly<typeof rules.limits> = rules.limits;
