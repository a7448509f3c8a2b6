/** Leaving: the permission is given back, everything kept here is erased, and the extension can be removed. */
import { eraseState, uninstall } from "../../adapters/browser.ts";
import { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import { whileNoNodeRuns } from "../../adapters/node_lock.ts";
import type { OwnerState, WalletChoice } from "../../node/owner_state.ts";
import { byId, element, fill } from "../dom.ts";
import { t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { askOwner } from "./owner_dialog.ts";
import { permissionRefusal } from "./privacy.ts";
import { SaveMark, wordsOf } from "./save_mark.ts";
import { hasOwnWallet } from "./wallet.ts";

/** How long the node may take to stop: it hands back what it has in hand. */
const STOP_MS = 20_000;

export class LeaveSection implements Section {
  private readonly mark: SaveMark;
  private wallet: WalletChoice | null = null;
  private hasOwnKey = false;

  constructor(private readonly board: Board) {
    this.mark = new SaveMark(byId("erase-mark", HTMLElement), board);
    byId("erase", HTMLButtonElement).addEventListener("click", () => void this.leave());
  }

  showState({ wallet }: OwnerState): void {
    this.wallet = wallet;
    this.showWarning();
  }

  async showLog(): Promise<void> {
    this.hasOwnKey = await hasOwnWallet(await this.board.store());
    this.showWarning();
  }

  /** Whether a key is erased that nobody is known to have elsewhere. */
  private get losesWallet(): boolean {
    return this.wallet?.own === true ? !this.wallet.backed_up : this.hasOwnKey;
  }

  private showWarning(): void {
    byId("erase-wallet", HTMLElement).hidden = !this.losesWallet;
  }

  private async leave(): Promise<void> {
    const isSure = await askOwner({
      title: t("dashboard_erase_title"),
      body: [
        element("p", {}, t("dashboard_erase_what")),
        this.losesWallet && element("p", { class: "notice", "data-tone": "attention" }, t("dashboard_erase_wallet")),
        element("p", {}, t("dashboard_erase_forever")),
      ],
      ...(this.losesWallet ? { tick: t("dashboard_erase_tick") } : {}),
      yes: t("dashboard_erase_button"),
      danger: true,
    });
    if (!isSure) return;
    const refusal = await permissionRefusal();
    try {
      await this.erase();
    } catch (error) {
      this.mark.showFault(t("dashboard_erase_failed", wordsOf(error)));
      return;
    }
    this.showErased(refusal);
  }

  /** Without the owner's consent in the state the node stops; what it still wrote until then is erased, too. */
  private async erase(): Promise<void> {
    await eraseState();
    await this.board.end();
    await whileNoNodeRuns(async () => {
      await IndexedDbStore.erase();
      await eraseState();
    }, STOP_MS);
  }

  private showErased(refusal: string | null): void {
    const place = element("p", { class: "save-mark", role: "status" });
    const kept = new SaveMark(place, null);
    const click = (): void => void uninstall().catch(() => kept.show(t("dashboard_uninstall_kept")));
    const title = element("h1", { tabindex: "-1" }, t("dashboard_erased"));
    fill(
      byId("main", HTMLElement),
      element(
        "section",
        { class: "card stack" },
        title,
        element("p", {}, t("dashboard_erased_what")),
        refusal !== null && element("p", { class: "notice", "data-tone": "attention" }, refusal),
        element(
          "div",
          { class: "row" },
          element("button", { class: "button primary", type: "button", on: { click } }, t("dashboard_uninstall")),
          element("a", { class: "button", href: "consent.html" }, t("dashboard_start_again")),
        ),
        place,
      ),
    );
    for (const id of ["nav", "skip"]) byId(id, HTMLElement).hidden = true;
    title.focus();
  }
}
