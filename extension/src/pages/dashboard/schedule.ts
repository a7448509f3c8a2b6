/** The hours in which the node may work: always, or in spans of local time that may pass midnight. */
import type { Hours, OwnerState } from "../../node/owner_state.ts";
import { byId, element, setText } from "../dom.ts";
import { formats, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { coveredMinutes, MINUTES_A_DAY, minuteText, readMinute, spanKind } from "./limit_values.ts";
import { SaveMark } from "./save_mark.ts";

const FIRST_SPAN: Hours = { start: 22 * 60, end: 7 * 60 };
const NEXT_SPAN: Hours = { start: 12 * 60, end: 13 * 60 };
const MOST_SPANS = 12;

export class ScheduleSection implements Section {
  private readonly always: HTMLInputElement;
  private readonly only: HTMLInputElement;
  private readonly list = element("ol", { class: "spans" });
  private readonly add: HTMLButtonElement;
  private readonly sum = element("p", { class: "soft" });
  private readonly mark: SaveMark;
  private readonly rows: SpanRow[] = [];
  private hours: readonly Hours[] = [];

  constructor(board: Board) {
    const choice = (isOnly: boolean): HTMLInputElement =>
      element("input", {
        type: "radio",
        name: "hours",
        on: { change: () => void this.apply(isOnly ? [FIRST_SPAN] : []) },
      });
    this.always = choice(false);
    this.only = choice(true);
    const click = (): void => void this.addSpan();
    this.add = element("button", { class: "button small", type: "button", on: { click } }, t("dashboard_hours_add"));
    const place = element("p", { class: "save-mark" });
    this.mark = new SaveMark(place, board);
    byId("hours", HTMLElement).append(
      element(
        "fieldset",
        { class: "stack" },
        element("legend", { class: "visually-hidden" }, t("dashboard_hours")),
        element(
          "div",
          { class: "choices" },
          element("label", { class: "choice" }, this.always, element("span", {}, t("dashboard_hours_always"))),
          element("label", { class: "choice" }, this.only, element("span", {}, t("dashboard_hours_only"))),
        ),
        this.list,
        element("div", { class: "row" }, this.add, this.sum),
        place,
      ),
    );
  }

  showState({ rules: { hours } }: OwnerState): void {
    this.hours = hours;
    this.always.checked = hours.length === 0;
    this.only.checked = hours.length > 0;
    this.list.hidden = this.add.hidden = this.sum.hidden = hours.length === 0;
    this.add.hidden ||= hours.length >= MOST_SPANS;
    while (this.rows.length > hours.length) this.rows.pop()?.item.remove();
    hours.forEach((span, index) => {
      const row = this.rows[index] ?? this.newRow(index);
      row.show(span);
    });
    const minutes = coveredMinutes(hours);
    const hourCount = new Intl.NumberFormat(formats.locale, {
      style: "unit",
      unit: "hour",
      unitDisplay: "long",
      maximumFractionDigits: 1,
    }).format(minutes / 60);
    setText(this.sum, minutes === MINUTES_A_DAY ? t("dashboard_hours_sum_all") : t("dashboard_hours_sum", hourCount));
  }

  private newRow(index: number): SpanRow {
    const row = new SpanRow(index, {
      changed: (span) => void this.apply(this.hours.map((other, place) => (place === index ? span : other))),
      removed: () => void this.remove(index),
    });
    this.rows.push(row);
    this.list.append(row.item);
    return row;
  }

  private async addSpan(): Promise<void> {
    const index = this.hours.length;
    await this.apply([...this.hours, NEXT_SPAN]);
    this.rows[index]?.focus();
  }

  private async remove(index: number): Promise<void> {
    const isLast = this.hours.length === 1;
    await this.apply(this.hours.filter((_, place) => place !== index));
    if (isLast) this.always.focus();
    else this.rows[Math.max(0, index - 1)]?.focus();
  }

  private async apply(hours: readonly Hours[]): Promise<void> {
    const focus = hours.length === 0 ? this.always : this.only;
    await this.mark.saveRules((rules) => ({ ...rules, hours }), { focus });
  }
}

/** One span: two times, what they mean in words, and a button to take the span away. */
class SpanRow {
  readonly item: HTMLLIElement;
  private readonly start: HTMLInputElement;
  private readonly end: HTMLInputElement;
  private readonly meaning: HTMLElement;
  private readonly fault: HTMLElement;
  private readonly button: HTMLButtonElement;
  private span: Hours | null = null;

  constructor(index: number, actions: { changed: (span: Hours) => void; removed: () => void }) {
    const id = `span-${index}`;
    const time = (): HTMLInputElement =>
      element("input", {
        class: "input",
        type: "time",
        required: true,
        "aria-describedby": `${id}-meaning ${id}-fault`,
        on: { change: () => this.read(actions.changed) },
      });
    this.start = time();
    this.end = time();
    this.meaning = element("p", { class: "hint", id: `${id}-meaning` });
    this.fault = element("p", { class: "fault", id: `${id}-fault`, hidden: true }, t("dashboard_hours_invalid"));
    this.button = element(
      "button",
      { class: "button quiet small", type: "button", on: { click: actions.removed } },
      t("dashboard_hours_remove"),
    );
    this.item = element(
      "li",
      { class: "span" },
      element("label", {}, element("span", {}, t("dashboard_hours_from")), this.start),
      element("label", {}, element("span", {}, t("dashboard_hours_until")), this.end),
      this.button,
      element("div", { class: "span-words" }, this.meaning, this.fault),
    );
  }

  show(span: Hours): void {
    if (this.span?.start === span.start && this.span.end === span.end) return;
    this.span = span;
    this.start.value = minuteText(span.start);
    this.end.value = minuteText(span.end);
    const [from, until] = [clock(span.start), clock(span.end)];
    const kind = spanKind(span);
    setText(
      this.meaning,
      kind === "all_day" ? t("dashboard_hours_all_day") : t(`dashboard_hours_${kind}`, from, until),
    );
    this.button.setAttribute("aria-label", t("dashboard_hours_remove_label", from, until));
  }

  focus(): void {
    this.start.focus();
  }

  private read(changed: (span: Hours) => void): void {
    const [start, end] = [readMinute(this.start.value), readMinute(this.end.value)];
    this.fault.hidden = start !== undefined && end !== undefined;
    for (const [input, minute] of [
      [this.start, start],
      [this.end, end],
    ] as const) {
      if (minute === undefined) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    if (start !== undefined && end !== undefined) changed({ start, end });
  }
}

/** A minute of the day as the owner's language writes it. The day is one on which no clock changes. */
function clock(minute: number): string {
  return formats.time(new Date(2026, 0, 15, 0, minute).getTime());
}
