/** The overview: what the node does and why, today's data, what was earned and how far along it is. */
import { askForUpdate, BROWSER, openPage, requestPermission } from "../../adapters/browser.ts";
import { isAccepted } from "../../node/consent.ts";
import type { UsageToday } from "../../node/journal.ts";
import { isPaused, momentOf } from "../../node/owner_rules.ts";
import type { Earnings, OwnerState, Pause } from "../../node/owner_state.ts";
import { byId, element, fill, setText } from "../dom.ts";
import { type Action, explain } from "../explain.ts";
import { inOneHour, tomorrowMorning } from "../popup/pauses.ts";
import { changeRules } from "../rules_change.ts";
import { StateCard, toneSign } from "../state_card.ts";
import { formats, type MessageKey, say, t, tCount } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { SaveMark, wordsOf } from "./save_mark.ts";

type Stage = Exclude<keyof Earnings, "time_ms">;

/** The stages of a credit, in the order in which it passes them. */
const STAGES: readonly { readonly name: Stage; readonly label: MessageKey; readonly meaning: MessageKey }[] = [
  { name: "pending", label: "popup_earned_pending", meaning: "dashboard_pending_means" },
  { name: "confirmed", label: "popup_earned_confirmed", meaning: "dashboard_confirmed_means" },
  { name: "paid", label: "popup_earned_paid", meaning: "dashboard_paid_means" },
  { name: "void", label: "popup_earned_void", meaning: "dashboard_void_means" },
];

/** Owns the overview but for its plots, and the sign of the state on top of every section. */
export class OverviewSection implements Section {
  private readonly card: StateCard;
  private readonly pauses = byId("pauses", HTMLElement);
  private readonly mark: SaveMark;
  private readonly amounts = new Map<Stage, HTMLElement>();
  private state: OwnerState | null = null;
  private usage: UsageToday | null = null;

  constructor(private readonly board: Board) {
    this.card = new StateCard(byId("state", HTMLElement), (action) => {
      this.act(action).catch((error) => this.mark.showFault(t("popup_failed", wordsOf(error))));
    });
    this.mark = new SaveMark(byId("state-mark", HTMLElement), board);
    const clicks: readonly (readonly [string, () => number | null])[] = [
      ["pause-hour", () => inOneHour(new Date())],
      ["pause-tomorrow", () => tomorrowMorning(new Date())],
      ["pause-off", () => null],
    ];
    for (const [id, until] of clicks) {
      byId(id, HTMLButtonElement).addEventListener("click", () => void this.setPause({ until_ms: until() }));
    }
    for (const stage of STAGES) {
      const amount = element("dd", { class: "headline number" });
      this.amounts.set(stage.name, amount);
      const name = element("dt", { class: "eyebrow" }, t(stage.label));
      const meaning = element("dd", { class: "small" }, t(stage.meaning));
      byId("earnings", HTMLElement).append(element("div", { class: "card stack tight" }, name, amount, meaning));
    }
  }

  showState(state: OwnerState): void {
    this.state = state;
    this.showTime(new Date());
    this.showToday();
    for (const [name, amount] of this.amounts) {
      setText(amount, state.earnings === null ? "–" : formats.tokens(state.earnings[name]));
    }
  }

  async showLog(): Promise<void> {
    const store = await this.board.store();
    this.usage = await store.usageSince(momentOf(new Date()).day_start_ms);
    this.showTime(new Date());
    this.showToday();
  }

  showTime(now: Date): void {
    const { state } = this;
    if (state === null) return;
    const explanation = explain(state, this.usage, now);
    this.card.show(explanation, now);
    const head = byId("head-state", HTMLElement);
    if (head.dataset["tone"] !== explanation.tone) {
      head.dataset["tone"] = explanation.tone;
      fill(byId("head-sign", HTMLElement), toneSign(explanation.tone));
    }
    setText(byId("head-words", HTMLElement), say(explanation.headline, now));
    const tomorrow = formats.moment(tomorrowMorning(now), now);
    byId("pause-tomorrow", HTMLElement).setAttribute("aria-label", t("popup_pause_tomorrow_label", tomorrow));
    this.pauses.hidden = !isAccepted(state.consent) || isPaused(state.rules, now.getTime());
    const { jobs_in_hand, available, state: standing } = state.standing;
    const finishing = byId("finishing", HTMLElement);
    finishing.hidden = jobs_in_hand === 0 || (available > 0 && standing === "connected");
    setText(finishing, tCount("state_finishing", jobs_in_hand));
    const { earnings } = state;
    const as_of =
      earnings === null
        ? t("dashboard_earnings_none")
        : t("popup_earned_as_of", formats.relative(Math.min(earnings.time_ms, now.getTime()), now));
    setText(byId("earnings-time", HTMLElement), as_of);
  }

  private async act(action: Action): Promise<void> {
    switch (action.does) {
      case "open":
        if (action.page.startsWith("dashboard.html")) location.hash = action.page.slice("dashboard.html".length);
        else await openPage(action.page);
        return;
      case "permit":
        if (!(await requestPermission())) this.mark.showFault(t("dashboard_permission_refused"));
        return;
      case "resume":
        return this.setPause(null);
      case "update":
        if (BROWSER === "chrome") await askForUpdate();
        this.mark.show(t(BROWSER === "chrome" ? "popup_update_asked" : "popup_update_by_hand"));
    }
  }

  /** The buttons that were pressed go away: the focus goes to those that take their place. */
  private async setPause(pause: Pause | null): Promise<void> {
    try {
      await changeRules((rules) => ({ ...rules, pause }));
      await this.board.refresh();
    } catch (error) {
      this.mark.showFault(t("dashboard_not_saved", wordsOf(error)));
      return;
    }
    this.mark.clear();
    if (pause === null) byId("pause-hour", HTMLButtonElement).focus();
    else this.card.focus();
  }

  private showToday(): void {
    const { state, usage } = this;
    if (state === null || usage === null) return;
    const { daily_bytes, daily_jobs } = state.rules;
    const used = formats.bytes(usage.bytes);
    const bytes = byId("today-bytes", HTMLElement);
    const meter = byId("today-meter", HTMLProgressElement);
    meter.hidden = daily_bytes === null;
    if (daily_bytes === null) {
      setText(bytes, used);
      setText(byId("today-left", HTMLElement), t("dashboard_today_no_cap"));
    } else {
      setText(bytes, t("popup_today_of", used, formats.bytes(daily_bytes)));
      meter.value = daily_bytes === 0 ? 1 : Math.min(1, usage.bytes / daily_bytes);
      const left = Math.max(0, daily_bytes - usage.bytes);
      setText(
        byId("today-left", HTMLElement),
        left > 0 ? t("dashboard_today_left", formats.bytes(left)) : t("dashboard_today_full"),
      );
    }
    setText(
      byId("today-pages", HTMLElement),
      daily_jobs === null
        ? tCount("dashboard_today_pages", usage.jobs)
        : tCount("dashboard_today_pages_of", usage.jobs, formats.number(daily_jobs)),
    );
  }
}
