/** Changes of the owner's rules, made by several pages at once: none of them loses another's. */
import { readState, writeState } from "../adapters/browser.ts";
import { INITIAL_RULES, type OwnerRules } from "../node/owner_state.ts";

/** Held while `rules` is read, edited and written; Web Locks hold for every page and worker of the extension. */
const LOCK = "meadow-rules";

/** The rules before and after a change. */
export interface RulesChange {
  readonly before: OwnerRules;
  readonly after: OwnerRules;
}

/**
 * Read the rules, edit them, write them, with every other change kept waiting. Nothing is written where `edit` returns
 * what it was given. Rejects where storage does.
 */
export async function changeRules(edit: (rules: OwnerRules) => OwnerRules): Promise<RulesChange> {
  return await navigator.locks.request(LOCK, async () => {
    const before = { ...INITIAL_RULES, ...(await readState()).rules };
    const after = edit(before);
    if (after !== before) await writeState({ rules: after });
    return { before, after };
  });
}

/** Add a domain, already normalised, to the blocked ones; the list stays sorted and without repetition. */
export function blockDomain(domain: string): (rules: OwnerRules) => OwnerRules {
  return (rules) =>
    rules.blocked_domains.includes(domain)
      ? rules
      : { ...rules, blocked_domains: [...rules.blocked_domains, domain].sort() };
}

/** Take a domain off the blocked ones. */
export function unblockDomain(domain: string): (rules: OwnerRules) => OwnerRules {
  return (rules) =>
    rules.blocked_domains.includes(domain)
      ? { ...rules, blocked_domains: rules.blocked_domains.filter((blocked) => blocked !== domain) }
      : rules;
}
