/** The last pages in the popup: each with what came of it, and "never this site" that can be taken back. */
import type { LogEntry } from "../../node/journal.ts";
import { checkHost } from "../../node/owner_rules.ts";
import type { OwnerRules } from "../../node/owner_state.ts";
import { byId, element, fill } from "../dom.ts";
import { blockDomain, changeRules, unblockDomain } from "../rules_change.ts";
import { siteOf } from "../site.ts";
import { formats, isolate, t } from "../text.ts";

/** How many pages are shown. */
export const LAST_PAGES = 4;

/** The list. Its buttons keep the focus when the list is made anew. */
export class LastPages {
  readonly #list = byId("log", HTMLUListElement);
  readonly #empty = byId("log-empty", HTMLElement);
  #shown = "";

  /** `failed` is told when a site could not be blocked or allowed again. */
  constructor(private readonly failed: (error: unknown) => void) {}

  /** Show entries, newest first. The list is made anew only where it says something else than before. */
  show(entries: readonly LogEntry[], rules: OwnerRules, now: Date): void {
    const said = JSON.stringify([entries, rules.blocked_domains, Math.floor(now.getTime() / 60_000)]);
    if (said === this.#shown) return;
    this.#shown = said;
    this.#empty.hidden = entries.length > 0;
    const focused = document.activeElement?.getAttribute("data-entry");
    fill(this.#list, ...entries.map((entry) => this.#row(entry, rules, now)));
    if (focused != null) this.#list.querySelector<HTMLElement>(`[data-entry="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(entry: LogEntry, rules: OwnerRules, now: Date): HTMLLIElement {
    const blocked = checkHost(rules, entry.host) !== null;
    const site = siteOf(entry.host);
    const words = blocked ? t("popup_never_done", isolate(site)) : factsOf(entry, now);
    return element(
      "li",
      {},
      element(
        "span",
        { title: entry.url },
        element("bdi", { class: "log-host", dir: "ltr" }, entry.host),
        element("span", { class: "log-facts" }, words),
      ),
      this.#button(entry, site, blocked, rules),
    );
  }

  #button(entry: LogEntry, site: string, blocked: boolean, rules: OwnerRules): HTMLButtonElement | null {
    if (blocked && !rules.blocked_domains.includes(site)) return null;
    const edit = blocked ? unblockDomain : blockDomain;
    return element(
      "button",
      {
        type: "button",
        class: "button quiet small tiny",
        "data-entry": `${entry.job_id} ${entry.lease}`,
        "aria-label": t(blocked ? "popup_undo_label" : "popup_never_label", isolate(site)),
        on: { click: () => void changeRules(edit(site)).catch(this.failed) },
      },
      t(blocked ? "popup_undo" : "popup_never"),
    );
  }
}

function factsOf(entry: LogEntry, now: Date): string {
  const came = entry.reward > 0 ? t("popup_log_earned", formats.tokens(entry.reward)) : t(`outcome_${entry.outcome}`);
  return `${formats.relative(entry.started_ms, now, "short")} · ${came}`;
}
