/** The owner's limits: data and pages a day, pages at once; and where the browser tells, Wi-Fi and mains. */
import { canTellConnection, canTellMains } from "../../adapters/browser.ts";
import type { OwnerRules, OwnerState } from "../../node/owner_state.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { byId, element, setText } from "../dom.ts";
import { formats, type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { setFault } from "./field_fault.ts";
import { BYTES_A_MEGABYTE, LARGEST_DAILY_JOBS, LARGEST_DAILY_MEGABYTES, readWhole } from "./limit_values.ts";
import { SaveMark } from "./save_mark.ts";

const DAYS_A_MONTH = 31;

/** A number the owner types. `unit` of the number are one unit of the rule; `standard` is set when a limit is switched on. */
interface Cap {
  readonly rule: "daily_bytes" | "daily_jobs" | "max_concurrent_jobs";
  readonly label: MessageKey;
  readonly hint: (value: number | null) => string;
  readonly invalid: MessageKey;
  readonly most: number;
  readonly unit: number;
  readonly standard: number;
  readonly none: MessageKey | null;
}

const CAPS: readonly Cap[] = [
  {
    rule: "daily_bytes",
    label: "dashboard_cap_bytes",
    hint: (value) =>
      value === null
        ? t("dashboard_cap_bytes_none")
        : t("dashboard_cap_bytes_hint", formats.bytes(value * DAYS_A_MONTH)),
    invalid: "dashboard_cap_invalid",
    most: LARGEST_DAILY_MEGABYTES,
    unit: BYTES_A_MEGABYTE,
    standard: 500,
    none: "dashboard_cap_none",
  },
  {
    rule: "daily_jobs",
    label: "dashboard_cap_jobs",
    hint: () => t("dashboard_cap_jobs_hint"),
    invalid: "dashboard_cap_invalid",
    most: LARGEST_DAILY_JOBS,
    unit: 1,
    standard: 1_000,
    none: "dashboard_cap_none",
  },
  {
    rule: "max_concurrent_jobs",
    label: "dashboard_cap_at_once",
    hint: () => t("dashboard_cap_at_once_hint"),
    invalid: "dashboard_cap_invalid",
    most: LIMITS.NODE_CONCURRENT_JOBS,
    unit: 1,
    standard: 4,
    none: null,
  },
];

/** A switch that only works where the browser tells what it depends on. */
interface Switch {
  readonly rule: "only_on_wifi" | "only_on_mains";
  readonly label: MessageKey;
  readonly hint: MessageKey;
  readonly cannot: MessageKey;
  readonly canTell: () => boolean;
}

const SWITCHES: readonly Switch[] = [
  {
    rule: "only_on_wifi",
    label: "dashboard_only_wifi",
    hint: "dashboard_only_wifi_hint",
    cannot: "dashboard_only_wifi_cannot",
    canTell: canTellConnection,
  },
  {
    rule: "only_on_mains",
    label: "dashboard_only_mains",
    hint: "dashboard_only_mains_hint",
    cannot: "dashboard_only_mains_cannot",
    canTell: canTellMains,
  },
];

export class LimitsSection implements Section {
  private readonly fields: readonly Section[];

  constructor(board: Board) {
    this.fields = [...CAPS.map((cap) => new CapField(cap, board)), ...SWITCHES.map((of) => new SwitchField(of, board))];
  }

  showState(state: OwnerState): void {
    for (const field of this.fields) field.showState?.(state);
  }
}

/** A number with the possibility of none. It is applied when the owner leaves the field or presses Enter. */
class CapField implements Section {
  private readonly input: HTMLInputElement;
  private readonly none: HTMLInputElement;
  private readonly hint: HTMLElement;
  private readonly fault: HTMLElement;
  private readonly mark: SaveMark;
  private value: number | null = null;
  private written = "";

  constructor(
    private readonly cap: Cap,
    board: Board,
  ) {
    const id = `cap-${cap.rule}`;
    this.hint = element("p", { class: "hint", id: `${id}-hint` });
    this.fault = element("p", { class: "fault", id: `${id}-fault`, hidden: true });
    this.input = element("input", {
      class: "input number",
      id,
      type: "text",
      inputmode: "numeric",
      autocomplete: "off",
      "aria-describedby": `${id}-hint ${id}-fault`,
      on: { change: () => void this.applyNumber() },
    });
    this.none = element("input", {
      type: "checkbox",
      "aria-labelledby": `${id}-label ${id}-none`,
      on: { change: () => void this.applyNone() },
    });
    const place = element("p", { class: "save-mark" });
    this.mark = new SaveMark(place, board);
    byId("caps", HTMLElement).append(
      element(
        "div",
        { class: "field", role: "group", "aria-labelledby": `${id}-label` },
        element("label", { for: id, id: `${id}-label` }, t(cap.label)),
        element(
          "div",
          { class: "cap-row" },
          this.input,
          cap.none !== null &&
            element("label", { class: "check" }, this.none, element("span", { id: `${id}-none` }, t(cap.none))),
        ),
        this.hint,
        this.fault,
        place,
      ),
    );
  }

  showState({ rules }: OwnerState): void {
    const value = rules[this.cap.rule];
    this.value = value;
    setText(this.hint, this.cap.hint(value));
    if (this.input.value !== this.written) return;
    this.none.checked = value === null;
    this.input.disabled = value === null;
    this.write(value === null ? "" : String(Math.max(1, Math.round(value / this.cap.unit))));
  }

  /** What stands in the field otherwise is being typed, or wrong: it is not replaced. */
  private write(text: string): void {
    this.written = text;
    if (this.input.value !== text) this.input.value = text;
  }

  private async applyNumber(): Promise<void> {
    const { cap, input } = this;
    const number = readWhole(input.value, 1, cap.most);
    if (number === undefined) {
      setFault(input, this.fault, t(cap.invalid, formats.number(1), formats.number(cap.most)));
      this.mark.clear();
      return;
    }
    setFault(input, this.fault, null);
    this.written = input.value;
    await this.apply(number * cap.unit, input);
  }

  private async applyNone(): Promise<void> {
    const { cap, input } = this;
    setFault(input, this.fault, null);
    const isNone = this.none.checked;
    this.write(isNone ? "" : String(cap.standard));
    await this.apply(isNone ? null : cap.standard * cap.unit, this.none);
    if (!isNone) input.focus();
  }

  private async apply(value: number | null, focus: HTMLElement): Promise<void> {
    if (value === this.value) return;
    await this.mark.saveRules((rules) => withCap(rules, this.cap.rule, value), { focus });
  }
}

class SwitchField implements Section {
  private readonly input: HTMLInputElement;
  private readonly hint: HTMLElement;
  private readonly mark: SaveMark;

  constructor(
    private readonly of: Switch,
    board: Board,
  ) {
    const id = `switch-${of.rule}`;
    this.hint = element("p", { class: "hint", id: `${id}-hint` });
    this.input = element("input", {
      type: "checkbox",
      role: "switch",
      class: "switch",
      id,
      "aria-describedby": `${id}-hint`,
      on: { change: () => void this.apply() },
    });
    const place = element("p", { class: "save-mark" });
    this.mark = new SaveMark(place, board);
    byId("switches", HTMLElement).append(
      element(
        "div",
        { class: "switch-row" },
        this.input,
        element("div", { class: "stack tight" }, element("label", { for: id }, t(of.label)), this.hint, place),
      ),
    );
  }

  /** A switch that is on can be switched off everywhere. */
  showState({ rules }: OwnerState): void {
    const canTell = this.of.canTell();
    this.input.checked = rules[this.of.rule];
    this.input.disabled = !canTell && !rules[this.of.rule];
    setText(this.hint, t(canTell ? this.of.hint : this.of.cannot));
  }

  private async apply(): Promise<void> {
    const { rule } = this.of;
    const isOn = this.input.checked;
    await this.mark.saveRules((rules) => ({ ...rules, [rule]: isOn }), { focus: this.input });
  }
}

function withCap(rules: OwnerRules, rule: Cap["rule"], value: number | null): OwnerRules {
  if (rule === "max_concurrent_jobs") return value === null ? rules : { ...rules, max_concurrent_jobs: value };
  return { ...rules, [rule]: value };
}
