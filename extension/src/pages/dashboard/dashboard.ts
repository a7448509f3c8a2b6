/** The dashboard: one section at a time, chosen by the address's hash, kept up to date while it is open. */
import { onStateChanged, readState } from "../../adapters/browser.ts";
import { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import { JOURNAL_CHANNEL } from "../../node/journal.ts";
import type { OwnerState } from "../../node/owner_state.ts";
import { byId, setText } from "../dom.ts";
import { applyText, type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { LeaveSection } from "./leave.ts";
import { LimitsSection } from "./limits.ts";
import { LogSection } from "./log.ts";
import { isStoppedForItsKey, NetworkSection } from "./network.ts";
import { OverviewSection } from "./overview.ts";
import { PlotsSection } from "./plots.ts";
import { PrivacySection } from "./privacy.ts";
import { PurposesSection } from "./purposes.ts";
import { ReputationSection } from "./reputation.ts";
import { wordsOf } from "./save_mark.ts";
import { ScheduleSection } from "./schedule.ts";
import { SitesSection } from "./sites.ts";
import { needsBackup, WalletSection } from "./wallet.ts";

const LOG_EVERY_MS = 500;
const TICK_MS = 1_000;
/** In every time zone an hour, and so a day, begins at a quarter of an hour of UTC. */
const QUARTER_MS = 900_000;

const NAMES = [
  "overview",
  "log",
  "limits",
  "sites",
  "purposes",
  "reputation",
  "wallet",
  "network",
  "privacy",
  "leave",
] as const satisfies readonly (MessageKey extends infer Key
  ? Key extends `dashboard_${infer Name}`
    ? Name
    : never
  : never)[];
type SectionName = (typeof NAMES)[number];

/** Names by which other pages call a part of a section, and the heading they mean. */
const PARTS: ReadonlyMap<string, { readonly section: SectionName; readonly heading: string }> = new Map([
  ["dispatcher", { section: "network", heading: "dispatcher-title" }],
  ["schedule", { section: "limits", heading: "hours-title" }],
  ["surroundings", { section: "limits", heading: "surroundings-title" }],
]);

class Dashboard implements Board {
  private readonly sections: Readonly<Record<SectionName, readonly Section[]>>;
  private readonly overview: OverviewSection;
  private opened: Promise<IndexedDbStore> | null = null;
  private inView: SectionName = "overview";
  private following: Promise<void> | null = null;
  private isStale = false;
  private quarter = Math.floor(Date.now() / QUARTER_MS);
  private hasEnded = false;

  constructor() {
    this.overview = new OverviewSection(this);
    this.sections = {
      overview: [this.overview, new PlotsSection(this)],
      log: [new LogSection(this)],
      limits: [new LimitsSection(this), new ScheduleSection(this)],
      sites: [new SitesSection(this)],
      purposes: [new PurposesSection(this)],
      reputation: [new ReputationSection(this)],
      wallet: [new WalletSection(this)],
      network: [new NetworkSection(this)],
      privacy: [new PrivacySection(this)],
      leave: [new LeaveSection(this)],
    };
  }

  /** Show the page, and keep it up to date until it is closed. */
  async start(): Promise<void> {
    onStateChanged(() => void this.refresh());
    new BroadcastChannel(JOURNAL_CHANNEL).addEventListener("message", () => this.logChanged());
    await this.refresh();
    // What is hidden can neither be scrolled to nor have the focus.
    document.body.hidden = false;
    this.go(false);
    window.addEventListener("hashchange", () => this.go(true));
    // Browsers leave a link that has the focus where the smallest part of it can be seen.
    byId("nav", HTMLElement).addEventListener("focusin", ({ target }) => reveal(target));
    byId("skip", HTMLAnchorElement).addEventListener("click", (event) => {
      event.preventDefault();
      byId(`${this.inView}-title`, HTMLElement).focus();
    });
    setInterval(() => this.tick(), TICK_MS);
  }

  store(): Promise<IndexedDbStore> {
    if (this.hasEnded) return Promise.reject(new DOMException(t("dashboard_erased"), "InvalidStateError"));
    this.opened ??= IndexedDbStore.open();
    this.opened.catch(() => {
      this.opened = null;
    });
    return this.opened;
  }

  announce(words: string): void {
    const place = byId("announcements", HTMLElement);
    // The same words twice are read twice only where the text differs.
    place.textContent = place.textContent === words ? `${words}\u00a0` : words;
  }

  async refresh(): Promise<void> {
    if (this.hasEnded) return;
    this.show(await readState());
  }

  async end(): Promise<void> {
    this.hasEnded = true;
    (await this.opened)?.close();
  }

  private show(state: OwnerState): void {
    for (const section of Object.values(this.sections).flat()) section.showState?.(state);
    byId("nav-wallet", HTMLElement).hidden = byId("backup-reminder", HTMLElement).hidden = !needsBackup(state);
    byId("nav-network", HTMLElement).hidden = !isStoppedForItsKey(state);
  }

  /** Changes come in bursts: the page follows half a second later, and shows the last ones before it looks for more. */
  private logChanged(): void {
    this.isStale = true;
    this.following ??= this.follow().finally(() => {
      this.following = null;
    });
  }

  private async follow(): Promise<void> {
    while (this.isStale && !this.hasEnded) {
      await new Promise((resolve) => setTimeout(resolve, LOG_EVERY_MS));
      this.isStale = false;
      if (!this.hasEnded) await this.showLog();
    }
  }

  /** The overview's state stands on top of every section, so it is always kept up to date. */
  private async showLog(): Promise<void> {
    const wanted = new Set<Section>([this.overview, ...this.sections[this.inView]]);
    await Promise.all([...wanted].map((section) => this.reload(section)));
  }

  async reload(section: Section): Promise<void> {
    const fault = byId("store-fault", HTMLElement);
    try {
      await section.showLog?.();
      if (section === this.overview) fault.hidden = true;
    } catch (error) {
      if (this.hasEnded) return;
      fault.hidden = false;
      setText(byId("store-fault-words", HTMLElement), t("dashboard_store_failed", wordsOf(error)));
    }
  }

  private tick(): void {
    if (this.hasEnded || document.hidden) return;
    const now = new Date();
    const quarter = Math.floor(now.getTime() / QUARTER_MS);
    if (quarter !== this.quarter) this.logChanged();
    this.quarter = quarter;
    for (const section of new Set<Section>([this.overview, ...this.sections[this.inView]])) section.showTime?.(now);
  }

  /** Show the section that the address names; another name changes nothing. */
  private go(isMove: boolean): void {
    if (this.hasEnded) return;
    const hash = location.hash.slice(1);
    const part = PARTS.get(hash);
    const name = part?.section ?? NAMES.find((section) => section === hash) ?? (isMove ? this.inView : "overview");
    this.inView = name;
    for (const section of NAMES) byId(section, HTMLElement).hidden = section !== name;
    for (const link of document.querySelectorAll<HTMLAnchorElement>(".board-nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    reveal(document.querySelector(".board-nav [aria-current]"));
    document.title = t("dashboard_title_of", t(`dashboard_${name}`));
    const heading = byId(part?.heading ?? `${name}-title`, HTMLElement);
    if (isMove || part !== undefined) {
      if (part === undefined) window.scrollTo(0, 0);
      heading.focus({ preventScroll: part === undefined });
    }
    void this.showLog();
  }
}

function reveal(target: EventTarget | null): void {
  if (target instanceof Element) target.scrollIntoView({ block: "nearest", inline: "nearest" });
}

applyText(document);
await new Dashboard().start();
