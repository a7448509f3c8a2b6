/** The words beside a control that say whether its change is saved, and the way back. */
import type { OwnerRules } from "../../node/owner_state.ts";
import { element, fill } from "../dom.ts";
import { changeRules } from "../rules_change.ts";
import { isolate, t } from "../text.ts";
import type { Board } from "./board.ts";

/** `undo` takes the change back; `focus` is where the keyboard goes on after that. `words`: in place of "Saved". */
export interface SaveOptions {
  readonly undo?: () => Promise<void>;
  readonly focus?: HTMLElement;
  readonly words?: string;
}

/** One place on the page. The words stay until something else is saved there: nobody has to hurry. */
export class SaveMark {
  /** `board` is null in dialogs, whose places are live regions of their own. */
  constructor(
    private readonly place: HTMLElement,
    private readonly board: Board | null,
  ) {}

  /** Save, and say what came of it. Resolves to whether it worked, once the page shows the state as it is then. */
  async save(act: () => Promise<void>, options: SaveOptions = {}): Promise<boolean> {
    try {
      await act();
      await this.board?.refresh();
    } catch (error) {
      this.showFault(t("dashboard_not_saved", wordsOf(error)));
      // Controls that were changed show again what holds.
      void this.board?.refresh();
      return false;
    }
    this.show(options.words ?? t("dashboard_saved"), options);
    return true;
  }

  /** Change the owner's rules, and say what came of it. Without `undo` the changed limits get their former values. */
  async saveRules(
    edit: (rules: OwnerRules) => OwnerRules,
    options: { undo?: (rules: OwnerRules) => OwnerRules; focus?: HTMLElement; words?: string } = {},
  ): Promise<boolean> {
    let before: Partial<OwnerRules> = {};
    const back = options.undo ?? ((rules: OwnerRules) => ({ ...rules, ...before }));
    return await this.save(
      async () => {
        const change = await changeRules(edit);
        before = formerValues(change.before, change.after);
      },
      { ...options, undo: async () => void (await changeRules(back)) },
    );
  }

  /** Say that something was done, with a way back where there is one. */
  show(words: string, { undo, focus }: SaveOptions = {}): void {
    const label = element("span", { class: "save-words" }, element("span", { "aria-hidden": "true" }, "✓ "), words);
    fill(this.place, label, undo !== undefined && this.undoButton(undo, focus));
    this.board?.announce(words);
  }

  /** Say that something could not be done. */
  showFault(words: string): void {
    fill(this.place, element("span", { class: "fault" }, words));
    this.board?.announce(words);
  }

  clear(): void {
    fill(this.place);
  }

  private undoButton(undo: () => Promise<void>, focus: HTMLElement | undefined): HTMLElement {
    const click = (): void => {
      void this.save(undo, { words: t("dashboard_undone") }).then(() => focus?.focus());
    };
    return element("button", { class: "button quiet", type: "button", on: { click } }, t("popup_undo"));
  }
}

/** The values that a change replaced. */
function formerValues(before: OwnerRules, after: OwnerRules): Partial<OwnerRules> {
  const names = (Object.keys(before) as (keyof OwnerRules)[]).filter((name) => before[name] !== after[name]);
  return Object.fromEntries(names.map((name) => [name, before[name]]));
}

/** What an error says, for use within words: it may quote what others sent. */
export function wordsOf(error: unknown): string {
  return isolate(error instanceof Error ? error.message : String(error));
}
