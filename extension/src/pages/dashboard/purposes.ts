/** The purposes for which pages may be fetched, each explained. */
import { INITIAL_RULES, type OwnerRules, type OwnerState, type Purpose } from "../../node/owner_state.ts";
import { byId, element } from "../dom.ts";
import { type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { purposeWords } from "./log_words.ts";
import { SaveMark } from "./save_mark.ts";

const MEANINGS: { readonly [Name in Purpose]: MessageKey } = {
  "train-ai": "dashboard_purpose_train_ai_means",
  search: "dashboard_purpose_search_means",
  rag: "dashboard_purpose_rag_means",
  research: "dashboard_purpose_research_means",
  archive: "dashboard_purpose_archive_means",
  monitoring: "dashboard_purpose_monitoring_means",
};

export class PurposesSection implements Section {
  private readonly boxes = new Map<Purpose, HTMLInputElement>();
  private readonly mark: SaveMark;

  constructor(board: Board) {
    this.mark = new SaveMark(byId("purposes-mark", HTMLElement), board);
    for (const purpose of INITIAL_RULES.purposes) {
      const box = element("input", {
        type: "checkbox",
        on: { change: () => void this.apply(purpose, box) },
      });
      this.boxes.set(purpose, box);
      byId("purpose-list", HTMLElement).append(
        element(
          "label",
          { class: "choice" },
          box,
          element("strong", {}, purposeWords(purpose)),
          element("span", { class: "choice-means small" }, t(MEANINGS[purpose])),
        ),
      );
    }
  }

  showState({ rules }: OwnerState): void {
    for (const [purpose, box] of this.boxes) box.checked = rules.purposes.includes(purpose);
    byId("purposes-none", HTMLElement).hidden = rules.purposes.length > 0;
  }

  private async apply(changed: Purpose, box: HTMLInputElement): Promise<void> {
    const isAllowed = box.checked;
    await this.mark.saveRules((rules) => allowing(rules, changed, isAllowed), {
      undo: (rules) => allowing(rules, changed, !isAllowed),
      focus: box,
      words: t(isAllowed ? "dashboard_purpose_on" : "dashboard_purpose_off", purposeWords(changed)),
    });
  }
}

function allowing(rules: OwnerRules, changed: Purpose, isAllowed: boolean): OwnerRules {
  const isIn = (purpose: Purpose): boolean => (purpose === changed ? isAllowed : rules.purposes.includes(purpose));
  return { ...rules, purposes: INITIAL_RULES.purposes.filter(isIn) };
}
