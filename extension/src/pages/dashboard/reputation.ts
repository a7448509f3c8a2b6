/** The dispatcher's opinion of this node with its parts, and what this browser itself knows of its reliability. */

import type { OwnerState, Reputation, ReputationPart } from "../../node/owner_state.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { byId, element, fill, setText } from "../dom.ts";
import { formats, isolate, type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { type TalliedOutcome, type Tally, tallyLog } from "./log_tally.ts";
import { reasonWords } from "./log_words.ts";
import { wordsOf } from "./save_mark.ts";

/** The whole log is counted no more often than this. */
const TALLY_EVERY_MS = 15_000;

/** The parts that the protocol names (PROTOCOL.md, section 5.1); another is shown by the name it came with. */
const PARTS: ReadonlyMap<string, MessageKey> = new Map([
  ["answers", "dashboard_part_answers"],
  ["leases", "dashboard_part_leases"],
  ["failures", "dashboard_part_failures"],
  ["credits", "dashboard_part_credits"],
  ["time", "dashboard_part_time"],
  ["new", "dashboard_part_new"],
]);

const TALLIES: readonly {
  readonly outcome: TalliedOutcome;
  readonly label: MessageKey;
  readonly meaning: MessageKey;
}[] = [
  { outcome: "stored", label: "dashboard_tally_stored", meaning: "dashboard_tally_stored_means" },
  { outcome: "rejected", label: "dashboard_tally_rejected", meaning: "dashboard_tally_rejected_means" },
  { outcome: "failed", label: "dashboard_tally_failed", meaning: "dashboard_tally_failed_means" },
  { outcome: "refused", label: "dashboard_tally_refused", meaning: "dashboard_tally_refused_means" },
];

export class ReputationSection implements Section {
  private readonly place = byId("score", HTMLElement);
  private readonly time = byId("score-time", HTMLElement);
  private readonly tallies = byId("tallies", HTMLElement);
  private reputation: Reputation | null = null;
  private talliedMs = Number.NEGATIVE_INFINITY;
  private isTallying = false;

  constructor(private readonly board: Board) {}

  showState({ reputation }: OwnerState): void {
    this.reputation = reputation;
    this.showTime(new Date());
    if (reputation === null) {
      fill(this.place, element("p", { class: "notice" }, t("dashboard_score_none")));
      return;
    }
    const score = formats.number(reputation.score);
    const most = formats.number(LIMITS.REPUTATION_MOST);
    fill(
      this.place,
      element(
        "div",
        { class: "stack tight" },
        element("p", { class: "headline number" }, t("dashboard_score_of", score, most)),
        meter(reputation.score, t("dashboard_score")),
      ),
      reputation.parts.length > 0 && element("h3", {}, t("dashboard_score_parts")),
      element("dl", { class: "parts" }, ...reputation.parts.map(partElement)),
    );
  }

  async showLog(): Promise<void> {
    if (this.isTallying || Date.now() < this.talliedMs + TALLY_EVERY_MS) return;
    this.isTallying = true;
    const state = byId("tallies-state", HTMLElement);
    if (this.tallies.childElementCount === 0) setText(state, t("dashboard_facts_counting"));
    try {
      const counted = await tallyLog((await this.board.store()).everyEntry());
      fill(
        this.tallies,
        ...TALLIES.map(({ outcome, label, meaning }) => tallyElement(counted[outcome], t(label), t(meaning))),
      );
      setText(state, "");
    } catch (error) {
      setText(state, t("popup_log_failed", wordsOf(error)));
    }
    this.talliedMs = Date.now();
    this.isTallying = false;
  }

  showTime(now: Date): void {
    const time_ms = this.reputation?.time_ms;
    const words =
      time_ms === undefined ? "" : t("popup_earned_as_of", formats.relative(Math.min(time_ms, now.getTime()), now));
    setText(this.time, words);
  }
}

function partElement(part: ReputationPart): HTMLElement {
  const key = PARTS.get(part.name);
  const name = key === undefined ? isolate(part.name) : t(key);
  const value = t("dashboard_score_of", formats.number(part.value), formats.number(LIMITS.REPUTATION_MOST));
  return element(
    "div",
    { class: "part" },
    element("dt", {}, name),
    element("dd", { class: "number" }, value),
    element("dd", { class: "part-meter" }, meter(part.value, name)),
    element("dd", { class: "small soft part-reason" }, isolate(part.reason)),
  );
}

/** A meter of its own making: what browsers draw for `meter` cannot be given the same look in all of them. */
function meter(value: number, label: string): HTMLElement {
  const most = LIMITS.REPUTATION_MOST;
  const filled = element("div", { class: "meter-fill" });
  filled.style.setProperty("inline-size", `${(value / most) * 100}%`);
  return element(
    "div",
    {
      class: "meter",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": most,
      "aria-valuenow": value,
      "aria-valuetext": t("dashboard_score_of", formats.number(value), formats.number(most)),
    },
    filled,
  );
}

function tallyElement(tally: Tally, label: string, meaning: string): HTMLElement {
  const reasons = tally.reasons.map(({ reason, count }) =>
    element("li", {}, t("dashboard_tally_reason", formats.number(count), reasonWords(reason))),
  );
  return element(
    "div",
    { class: "tally stack tight" },
    element("dt", { class: "eyebrow" }, label),
    element("dd", { class: "headline number" }, formats.number(tally.count)),
    element("dd", { class: "small" }, meaning),
    reasons.length > 0 && element("dd", { class: "small" }, element("ul", {}, ...reasons)),
  );
}
