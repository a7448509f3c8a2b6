/** The log: every entry the store has, a page at a time, searched, filtered and exported. */
import type { IndexedDbStore, LogPlace } from "../../adapters/indexeddb_store.ts";
import type { LogEntry, Outcome } from "../../node/journal.ts";
import { normaliseDomain } from "../../node/owner_rules.ts";
import type { OwnerState } from "../../node/owner_state.ts";
import { byId, element, setText } from "../dom.ts";
import { blockDomain, changeRules, unblockDomain } from "../rules_change.ts";
import { formats, isolate, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { csvFile, csvName } from "./log_csv.ts";
import { COLUMNS, LogRow, type RowActions, rowKey } from "./log_row.ts";
import { SaveMark, wordsOf } from "./save_mark.ts";

const PAGE_ENTRIES = 50;
/** How many entries are read at once where most of them may be filtered out. */
const FILTER_ENTRIES = 1_000;
const TYPING_MS = 250;
/** After this, the page says that it is still searching. */
const SLOW_MS = 400;
const REVOKE_MS = 60_000;

const OUTCOMES: readonly Outcome[] = [
  "stored",
  "duplicate",
  "fetching",
  "sent",
  "failed",
  "refused",
  "rejected",
  "noted",
  "stale",
  "interrupted",
  "cancelled",
];

interface LogPage {
  readonly entries: readonly LogEntry[];
  readonly isLast: boolean;
}

export class LogSection implements Section {
  private readonly search = byId("log-search", HTMLInputElement);
  private readonly outcome = byId("log-outcome", HTMLSelectElement);
  private readonly frame = byId("log-frame", HTMLElement);
  private readonly fresh = byId("log-fresh", HTMLButtonElement);
  private readonly newer = byId("log-newer", HTMLButtonElement);
  private readonly older = byId("log-older", HTMLButtonElement);
  private readonly exportButton = byId("log-export", HTMLButtonElement);
  private readonly mark: SaveMark;
  private readonly body = element("tbody", { role: "rowgroup" });
  private readonly table: HTMLTableElement;
  private readonly empty = element("p", { class: "card soft", hidden: true });
  private readonly rows = new Map<string, LogRow>();
  private entries: readonly LogEntry[] = [];
  /** Where each page up to the one shown begins; the first at the newest entry (null). */
  private starts: readonly (LogPlace | null)[] = [null];
  private state: OwnerState | null = null;
  private isLast = true;
  private loading = 0;
  private isLoading = false;
  /** Whether the log changed while it was read. */
  private isStale = false;
  private typing: ReturnType<typeof setTimeout> | undefined;
  private isExporting = false;

  constructor(private readonly board: Board) {
    this.mark = new SaveMark(byId("log-export-mark", HTMLElement), board);
    const heads = COLUMNS.map(({ label, number }) =>
      element("th", { role: "columnheader", scope: "col", class: number ? "number" : null }, t(label)),
    );
    this.table = element(
      "table",
      { class: "log-table", role: "table" },
      element("caption", { class: "visually-hidden" }, t("dashboard_log")),
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)),
      this.body,
    );
    this.frame.append(this.table, this.empty);
    this.outcome.append(
      element("option", { value: "" }, t("dashboard_log_any")),
      ...OUTCOMES.map((outcome) => element("option", { value: outcome }, t(`outcome_${outcome}`))),
    );
    byId("log-tools", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.restart();
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => void this.restart(), TYPING_MS);
    });
    this.outcome.addEventListener("change", () => void this.restart());
    this.fresh.addEventListener("click", () => void this.restart());
    this.newer.addEventListener("click", () => void this.turn(-1));
    this.older.addEventListener("click", () => void this.turn(1));
    this.exportButton.addEventListener("click", () => void this.exportAll());
  }

  showState(state: OwnerState): void {
    const isNewRules = this.state?.rules !== state.rules;
    this.state = state;
    if (isNewRules) for (const entry of this.entries) this.rows.get(rowKey(entry))?.show(entry, state.rules);
  }

  /** Show what changed. Rows that somebody reads or works in stay where they are; then a button offers the new ones. */
  async showLog(): Promise<void> {
    this.isStale = this.isLoading;
    if (this.isLoading) return;
    const isHeld = this.starts.length === 1 && this.entries.length > 0 && this.isRead();
    await this.load(isHeld);
  }

  private isRead(): boolean {
    return this.frame.contains(document.activeElement) || this.frame.getBoundingClientRect().top < 0;
  }

  private async restart(): Promise<void> {
    clearTimeout(this.typing);
    this.starts = [null];
    await this.load(false);
    this.board.announce(this.range());
  }

  private async turn(by: 1 | -1): Promise<void> {
    const last = this.entries.at(-1);
    if (by === 1 && last !== undefined && !this.isLast) {
      this.starts = [...this.starts, [last.started_ms, last.job_id, last.lease]];
    } else if (by === -1 && this.starts.length > 1) {
      this.starts = this.starts.slice(0, -1);
    } else {
      return;
    }
    await this.load(false);
    byId("log-tools", HTMLElement).scrollIntoView({ block: "start" });
    this.board.announce(this.range());
  }

  /** Read what is asked for now and show it; a later call makes an earlier one void. */
  private async load(isHeld: boolean): Promise<void> {
    this.loading += 1;
    const turn = this.loading;
    this.isLoading = true;
    this.table.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => setText(byId("log-count", HTMLElement), t("dashboard_log_searching")), SLOW_MS);
    try {
      const page = await this.read(await this.board.store(), () => turn === this.loading);
      if (turn !== this.loading) return;
      if (isHeld) this.update(page);
      else this.show(page);
    } catch (error) {
      if (turn !== this.loading) return;
      this.empty.hidden = false;
      setText(this.empty, t("popup_log_failed", wordsOf(error)));
    } finally {
      clearTimeout(slow);
    }
    this.isLoading = false;
    setText(byId("log-count", HTMLElement), this.range());
    this.table.removeAttribute("aria-busy");
    if (this.isStale) await this.showLog();
  }

  private async read(store: IndexedDbStore, isWanted: () => boolean): Promise<LogPage> {
    const outcome = this.outcome.value;
    const search = this.search.value.trim();
    const found: LogEntry[] = [];
    const limit = outcome === "" ? PAGE_ENTRIES + 1 : FILTER_ENTRIES;
    let before = this.starts.at(-1) ?? undefined;
    while (found.length <= PAGE_ENTRIES && isWanted()) {
      const entries = await store.entries({ before, limit, search });
      found.push(...entries.filter((entry) => outcome === "" || entry.outcome === outcome));
      const last = entries.at(-1);
      if (entries.length < limit || last === undefined) break;
      before = [last.started_ms, last.job_id, last.lease];
    }
    return { entries: found.slice(0, PAGE_ENTRIES), isLast: found.length <= PAGE_ENTRIES };
  }

  /** Change the rows that are there; newer ones wait behind a button. */
  private update(page: LogPage): void {
    if (this.state === null) return;
    const now = new Map(page.entries.map((entry) => [rowKey(entry), entry]));
    this.entries = this.entries.map((entry) => now.get(rowKey(entry)) ?? entry);
    for (const entry of this.entries) this.rows.get(rowKey(entry))?.show(entry, this.state.rules);
    const [newest] = page.entries;
    this.fresh.hidden = newest === undefined || this.rows.has(rowKey(newest));
  }

  private show(page: LogPage): void {
    const { state } = this;
    if (state === null) return;
    this.entries = page.entries;
    this.isLast = page.isLast;
    const kept = new Set(page.entries.map(rowKey));
    for (const [key, { row }] of this.rows) {
      if (kept.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    page.entries.forEach((entry, index) => {
      const row = this.rows.get(rowKey(entry)) ?? new LogRow(entry, this.actions);
      this.rows.set(rowKey(entry), row);
      row.show(entry, state.rules);
      if (this.body.children[index] !== row.row) this.body.insertBefore(row.row, this.body.children[index] ?? null);
    });
    this.fresh.hidden = true;
    const isFiltered = this.search.value.trim() !== "" || this.outcome.value !== "";
    this.empty.hidden = page.entries.length > 0;
    this.table.hidden = page.entries.length === 0;
    setText(this.empty, t(isFiltered ? "dashboard_log_none" : "dashboard_log_empty"));
    setText(byId("log-page", HTMLElement), t("dashboard_log_page", formats.number(this.starts.length)));
    byId("log-pages", HTMLElement).hidden = this.starts.length === 1 && page.isLast;
    setEnabled(this.newer, this.starts.length > 1);
    setEnabled(this.older, !page.isLast);
  }

  private range(): string {
    const count = this.entries.length;
    if (count === 0) return t("dashboard_log_range_none");
    const first = (this.starts.length - 1) * PAGE_ENTRIES + 1;
    return t("dashboard_log_range", formats.number(first), formats.number(first + count - 1));
  }

  /** The row itself shows what is blocked; only a fault is told above the table. */
  private readonly actions: RowActions = {
    block: (site) => this.changeSite(blockDomain(normaliseDomain(site)), t("popup_never_done", isolate(site))),
    allow: (site) => this.changeSite(unblockDomain(normaliseDomain(site)), t("dashboard_undone")),
  };

  private async changeSite(edit: Parameters<typeof changeRules>[0], words: string): Promise<void> {
    try {
      await changeRules(edit);
      await this.board.refresh();
      this.board.announce(words);
    } catch (error) {
      this.mark.showFault(t("dashboard_not_saved", wordsOf(error)));
    }
  }

  private async exportAll(): Promise<void> {
    if (this.isExporting) return;
    this.isExporting = true;
    this.exportButton.setAttribute("aria-disabled", "true");
    let count = 0;
    try {
      const store = await this.board.store();
      const file = await csvFile(store.everyEntry(), (written) => {
        count = written;
        setText(byId("log-export-mark", HTMLElement), t("dashboard_log_exporting", formats.number(written)));
      });
      download(file, csvName(new Date()));
      this.mark.show(t("dashboard_log_exported", formats.number(count)));
    } catch (error) {
      this.mark.showFault(t("dashboard_log_export_failed", wordsOf(error)));
    }
    this.exportButton.removeAttribute("aria-disabled");
    this.isExporting = false;
  }
}

function download(file: Blob, name: string): void {
  const href = URL.createObjectURL(file);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), REVOKE_MS);
}

/** A button that was just used keeps the focus where it is no longer of use. */
function setEnabled(button: HTMLButtonElement, isEnabled: boolean): void {
  if (isEnabled) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}
