/** The sites from which nothing is ever fetched. */
import { normaliseDomain } from "../../node/owner_rules.ts";
import type { OwnerState } from "../../node/owner_state.ts";
import { byId, element, setText } from "../dom.ts";
import { blockDomain, unblockDomain } from "../rules_change.ts";
import { isolate, t, tCount } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { setFault } from "./field_fault.ts";
import { SaveMark } from "./save_mark.ts";

export class SitesSection implements Section {
  private readonly input = byId("site-input", HTMLInputElement);
  private readonly fault = byId("site-fault", HTMLElement);
  private readonly list = byId("site-list", HTMLElement);
  private readonly title = byId("blocked-title", HTMLElement);
  private readonly mark: SaveMark;
  private readonly items = new Map<string, HTMLElement>();
  private blocked: readonly string[] = [];

  constructor(board: Board) {
    this.mark = new SaveMark(byId("site-mark", HTMLElement), board);
    byId("site-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.add();
    });
  }

  showState({ rules }: OwnerState): void {
    this.blocked = rules.blocked_domains;
    setText(this.title, tCount("dashboard_sites_blocked", this.blocked.length));
    byId("site-none", HTMLElement).hidden = this.blocked.length > 0;
    for (const [domain, item] of this.items) {
      if (this.blocked.includes(domain)) continue;
      item.remove();
      this.items.delete(domain);
    }
    this.blocked.forEach((domain, index) => {
      const item = this.items.get(domain) ?? this.newItem(domain);
      this.items.set(domain, item);
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
    });
  }

  private newItem(domain: string): HTMLElement {
    const click = (): void => void this.remove(domain);
    return element(
      "li",
      {},
      element("bdi", { dir: "ltr", class: "mono" }, domain),
      element(
        "button",
        {
          class: "button quiet small",
          type: "button",
          "aria-label": t("dashboard_site_allow_label", isolate(domain)),
          on: { click },
        },
        t("dashboard_site_allow"),
      ),
    );
  }

  private async add(): Promise<void> {
    const domain = domainOf(this.input.value);
    if (domain === null) return this.refuse(t("dashboard_site_invalid"));
    const covering = this.blocked.find((other) => domain === other || domain.endsWith(`.${other}`));
    if (covering === domain) return this.refuse(t("dashboard_site_twice", isolate(domain)));
    if (covering !== undefined) return this.refuse(t("dashboard_site_covered", isolate(domain), isolate(covering)));
    setFault(this.input, this.fault, null);
    const words = t("popup_never_done", isolate(domain));
    const done = await this.mark.saveRules(blockDomain(domain), {
      undo: unblockDomain(domain),
      focus: this.input,
      words,
    });
    if (done) this.input.value = "";
    this.input.focus();
  }

  private refuse(words: string): void {
    this.mark.clear();
    setFault(this.input, this.fault, words);
    this.input.focus();
  }

  private async remove(domain: string): Promise<void> {
    const place = this.blocked.indexOf(domain);
    const words = t("dashboard_site_allowed", isolate(domain));
    await this.mark.saveRules(unblockDomain(domain), { undo: blockDomain(domain), focus: this.title, words });
    const next = this.blocked.filter((other) => other !== domain)[Math.max(0, place - 1)];
    const button = next === undefined ? null : this.items.get(next)?.querySelector("button");
    (button ?? this.title).focus();
  }
}

/** The domain that was typed, also as a whole address of the web; null where there is none. */
function domainOf(text: string): string | null {
  const trimmed = text.trim();
  const name = /^https?:\/\//i.test(trimmed) && URL.canParse(trimmed) ? new URL(trimmed).hostname : trimmed;
  try {
    return normaliseDomain(name);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
