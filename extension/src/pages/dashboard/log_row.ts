/** One row of the log's table. */
import type { LogEntry, Outcome } from "../../node/journal.ts";
import { checkHost } from "../../node/owner_rules.ts";
import type { OwnerRules } from "../../node/owner_state.ts";
import { type Child, element, fill, setText } from "../dom.ts";
import type { Tone } from "../explain.ts";
import { siteOf } from "../site.ts";
import { formats, isolate, type MessageKey, t } from "../text.ts";
import { outcomeWords, purposeWords } from "./log_words.ts";

/** The columns in their order. `number` columns are set flush to the end. */
export const COLUMNS: readonly { readonly name: string; readonly label: MessageKey; readonly number?: boolean }[] = [
  { name: "time", label: "dashboard_log_time" },
  { name: "page", label: "dashboard_log_address" },
  { name: "outcome", label: "dashboard_log_outcome" },
  { name: "status", label: "dashboard_log_status", number: true },
  { name: "size", label: "dashboard_log_size", number: true },
  { name: "reward", label: "dashboard_log_reward", number: true },
  { name: "place", label: "dashboard_log_place", number: true },
  { name: "never", label: "dashboard_log_site" },
];

const TONES: { readonly [Name in Outcome]: Tone } = {
  fetching: "waiting",
  sent: "waiting",
  interrupted: "resting",
  stored: "working",
  duplicate: "working",
  stale: "resting",
  rejected: "attention",
  noted: "resting",
  failed: "attention",
  refused: "resting",
  cancelled: "resting",
};

/** What a row can ask for. */
export interface RowActions {
  block(site: string): Promise<void>;
  allow(site: string): Promise<void>;
}

/** The name of an entry's row: one lease of one job. */
export function rowKey(entry: LogEntry): string {
  return `${entry.job_id}/${entry.lease}`;
}

/** A row whose cells are changed in place, so that an open row stays open and a focused button focused. */
export class LogRow {
  readonly row: HTMLTableRowElement;
  private readonly cells = new Map<string, HTMLTableCellElement>();
  private readonly url = element("summary", { class: "log-url" });
  private readonly more = element("dl", { class: "facts" });
  private readonly purpose = element("span", { class: "log-purpose" });
  private readonly tag = element("span", { class: "tag" });
  private readonly why = element("span", { class: "log-why" });
  private readonly blocked = element("span", { class: "soft" });
  private readonly never = element("button", { class: "button quiet small", type: "button" });
  private entry: LogEntry;
  private shown = "";

  constructor(entry: LogEntry, actions: RowActions) {
    this.entry = entry;
    const cells = COLUMNS.map((column) => {
      const cell = element("td", { role: "cell", class: `log-${column.name}`, "data-column": t(column.label) });
      if (column.number) cell.classList.add("number");
      this.cells.set(column.name, cell);
      return cell;
    });
    this.row = element("tr", { role: "row" }, ...cells);
    this.cell("page").append(element("details", {}, this.url, this.more));
    this.cell("outcome").append(this.tag, this.why);
    this.cell("never").append(this.blocked, this.never);
    this.never.addEventListener("click", () => {
      const site = siteOf(this.entry.host);
      void (this.never.dataset["does"] === "allow" ? actions.allow(site) : actions.block(site));
    });
  }

  /** Show an entry, which is the same lease, under the owner's rules as they are now. */
  show(entry: LogEntry, rules: OwnerRules): void {
    this.showSite(entry.host, rules);
    const shown = JSON.stringify(entry);
    if (shown === this.shown) return;
    this.shown = shown;
    this.entry = entry;
    fill(this.cell("time"), element("time", { datetime: new Date(entry.started_ms).toISOString() }, logTime(entry)));
    fill(this.url, urlElement(entry), this.purpose);
    fill(this.more, ...facts(entry));
    this.tag.dataset["tone"] = TONES[entry.outcome];
    setText(this.tag, t(`outcome_${entry.outcome}`));
    setText(this.why, outcomeWords(entry));
    setText(this.purpose, purposeWords(entry.purpose));
    this.showValue("status", entry.status === null ? "" : String(entry.status));
    this.showValue("size", entry.received_bytes === 0 ? "" : formats.bytes(entry.received_bytes));
    this.showValue("reward", entry.reward === 0 ? "" : formats.tokens(entry.reward));
    this.showValue("place", entry.log_index === null ? "" : formats.number(entry.log_index));
  }

  /** A value that there is none of is a dash in the table, and left out where rows are cards. */
  private showValue(name: string, text: string): void {
    const cell = this.cell(name);
    cell.classList.toggle("none", text === "");
    setText(cell, text || "–");
  }

  private showSite(host: string, rules: OwnerRules): void {
    const site = siteOf(host);
    const isOwn = rules.blocked_domains.includes(site);
    const isBlocked = checkHost(rules, host) !== null;
    const shown = isOwn ? t("dashboard_log_never_done") : isBlocked ? t("dashboard_log_blocked") : "";
    setText(this.blocked, shown);
    this.never.hidden = host === "" || (isBlocked && !isOwn);
    this.never.dataset["does"] = isOwn ? "allow" : "block";
    setText(this.never, t(isOwn ? "popup_undo" : "popup_never"));
    this.never.setAttribute(
      "aria-label",
      isOwn ? t("popup_undo_label", isolate(site)) : t("popup_never_label", isolate(site)),
    );
  }

  private cell(name: string): HTMLTableCellElement {
    const cell = this.cells.get(name);
    if (cell === undefined) throw new TypeError(`the log has no column ${name}`);
    return cell;
  }
}

/** The host stands out: it says whose page it was. Lines break behind the signs that part an address. */
function urlElement({ url, host }: LogEntry): HTMLElement {
  const at = host === "" ? -1 : url.indexOf(host);
  const split = at < 0 ? 0 : at + host.length;
  const rest = plainUrl(url.slice(split)).split(/(?<=[/?&=])/);
  return element(
    "bdi",
    { dir: "ltr" },
    at < 0 ? "" : url.slice(0, at),
    element("strong", {}, at < 0 ? "" : host),
    ...rest.flatMap((part) => [part, element("wbr")]),
  );
}

/** An address in which no character turns the direction of others: each is written as URLs write it. */
function plainUrl(url: string): string {
  return url.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, encodeURIComponent);
}

/** The year only where it is another than this one. */
function logTime(entry: LogEntry): string {
  const started = new Date(entry.started_ms);
  const isThisYear = started.getFullYear() === new Date().getFullYear();
  const day: Intl.DateTimeFormatOptions = {
    month: "short",
    day: "numeric",
    ...(isThisYear ? {} : { year: "numeric" }),
  };
  return new Intl.DateTimeFormat(formats.locale, { ...day, hour: "numeric", minute: "2-digit" }).format(started);
}

/** What the columns have no room for. */
function facts(entry: LogEntry): Child[] {
  const seconds = entry.finished_ms === null ? null : (entry.finished_ms - entry.started_ms) / 1000;
  const took =
    seconds === null
      ? null
      : new Intl.NumberFormat(formats.locale, { style: "unit", unit: "second", maximumFractionDigits: 1 }).format(
          seconds,
        );
  const rows: [MessageKey, string | null][] = [
    ["dashboard_log_hops", entry.hops.length === 0 ? null : entry.hops.map(plainUrl).join("\n")],
    ["dashboard_log_final", entry.final_url === entry.url ? null : plainUrl(entry.final_url ?? "") || null],
    ["dashboard_log_took", took],
    ["dashboard_log_sent_bytes", entry.sent_bytes === 0 ? null : formats.bytes(entry.sent_bytes)],
    ["dashboard_log_code", entry.reason === "" || entry.reason === entry.outcome ? null : isolate(entry.reason)],
    ["dashboard_log_detail", entry.detail === "" ? null : isolate(entry.detail)],
    ["dashboard_log_job", `${entry.job_id} / ${entry.lease}`],
  ];
  return rows.flatMap(([label, value]) =>
    value === null
      ? []
      : [element("dt", {}, t(label)), element("dd", {}, element("bdi", { class: "pre-lines" }, value))],
  );
}
