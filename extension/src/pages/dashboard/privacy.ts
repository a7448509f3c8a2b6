/** What is kept here, what is sent to whom, and the browser's permission. */
import { hasPermission, onPermissionChanged, requestPermission, withdrawPermission } from "../../adapters/browser.ts";
import { isAccepted } from "../../node/consent.ts";
import { MOST_ENTRIES } from "../../node/journal.ts";
import type { OwnerState } from "../../node/owner_state.ts";
import { byId, element, setText } from "../dom.ts";
import { formats, isolate, type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { SaveMark } from "./save_mark.ts";

const STORED: readonly (readonly [MessageKey, MessageKey])[] = [
  ["dashboard_stored_choices", "dashboard_stored_choices_means"],
  ["dashboard_stored_log", "dashboard_stored_log_means"],
  ["dashboard_stored_results", "dashboard_stored_results_means"],
  ["dashboard_stored_keys", "dashboard_stored_keys_means"],
  ["dashboard_stored_words", "dashboard_stored_words_means"],
];

const SENT: readonly (readonly [MessageKey, MessageKey])[] = [
  ["dashboard_sent_sites", "dashboard_sent_sites_means"],
  ["dashboard_sent_dispatcher", "dashboard_sent_dispatcher_means"],
  ["dashboard_sent_labs", "dashboard_sent_labs_means"],
  ["dashboard_sent_public", "dashboard_sent_public_means"],
];

/** Give the permission back; why the browser keeps it, in words, or null where it is gone. */
export async function permissionRefusal(): Promise<string | null> {
  let why = "permissions.remove";
  try {
    await withdrawPermission();
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  return (await hasPermission()) ? t("dashboard_erased_permission", isolate(why)) : null;
}

export class PrivacySection implements Section {
  private readonly button = byId("permission-button", HTMLButtonElement);
  private readonly mark: SaveMark;
  private hasConsent = false;
  private isPermitted = false;

  constructor(board: Board) {
    this.mark = new SaveMark(byId("permission-mark", HTMLElement), board);
    const most = formats.number(MOST_ENTRIES);
    const list = (pairs: typeof STORED): HTMLElement[] =>
      pairs.map(([name, meaning]) =>
        element("div", {}, element("dt", {}, t(name)), element("dd", {}, t(meaning, most))),
      );
    byId("stored", HTMLElement).append(...list(STORED));
    byId("sent", HTMLElement).append(...list(SENT));
    this.button.addEventListener("click", () => void (this.isPermitted ? this.withdraw() : this.request()));
    onPermissionChanged(() => void this.showPermission());
    void this.showPermission();
  }

  showState({ consent }: OwnerState): void {
    this.hasConsent = isAccepted(consent);
    this.showButton();
  }

  private async showPermission(): Promise<void> {
    this.isPermitted = await hasPermission();
    this.showButton();
  }

  /** Without consent the permission is asked for on the page that explains it, and nowhere else. */
  private showButton(): void {
    setText(
      byId("permission-state", HTMLElement),
      t(this.isPermitted ? "dashboard_permission_given" : "dashboard_permission_missing"),
    );
    setText(this.button, t(this.isPermitted ? "dashboard_permission_withdraw" : "action_permit"));
    this.button.hidden = !this.isPermitted && !this.hasConsent;
  }

  private async withdraw(): Promise<void> {
    const refusal = await permissionRefusal();
    await this.showPermission();
    if (refusal === null) this.mark.show(t("dashboard_permission_withdrawn"));
    else this.mark.showFault(refusal);
  }

  private async request(): Promise<void> {
    await requestPermission().catch(() => false);
    await this.showPermission();
    if (this.isPermitted) this.mark.show(t("dashboard_permission_granted"));
    else this.mark.showFault(t("dashboard_permission_refused"));
  }
}
