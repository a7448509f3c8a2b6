/** Where rewards go: the address, the recovery key of a wallet made here, and a change to another. */
import { writeState } from "../../adapters/browser.ts";
import type { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import { ownWallet, recoveryKey } from "../../adapters/webcrypto_keys.ts";
import type { OwnerState, WalletChoice } from "../../node/owner_state.ts";
import { isWallet } from "../../protocol/base58.ts";
import { byId, element, fill } from "../dom.ts";
import { isolate, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { setFault } from "./field_fault.ts";
import { askOwner, showDialog } from "./owner_dialog.ts";
import { SaveMark, wordsOf } from "./save_mark.ts";

/** The name under which the store keeps the wallet that was made here. */
const OWN_KEY = "wallet";

/** Whether a wallet that was made here holds or will hold something, and nobody else has its key. */
export function needsBackup({ wallet, earnings }: OwnerState): boolean {
  if (wallet === null || !wallet.own || wallet.backed_up || earnings === null) return false;
  return earnings.pending + earnings.confirmed + earnings.paid > 0;
}

/** Whether this browser has made a wallet of its own, in use or not. Rejects where the store cannot be read. */
export async function hasOwnWallet(store: IndexedDbStore): Promise<boolean> {
  return (await store.key(OWN_KEY)) !== undefined;
}

export class WalletSection implements Section {
  private readonly place = byId("wallet-now", HTMLElement);
  private readonly input = byId("wallet-input", HTMLInputElement);
  private readonly fault = byId("wallet-fault", HTMLElement);
  private readonly mark: SaveMark;
  private readonly keyMark: SaveMark;
  private readonly keyPlace = element("p", { class: "save-mark" });
  private wallet: WalletChoice | null = null;
  private hasOwnKey = false;
  private shown = "";

  constructor(private readonly board: Board) {
    this.mark = new SaveMark(byId("wallet-mark", HTMLElement), board);
    this.keyMark = new SaveMark(this.keyPlace, board);
    byId("wallet-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.useGiven();
    });
  }

  showState(state: OwnerState): void {
    this.wallet = state.wallet;
    const shown = JSON.stringify([state.wallet, needsBackup(state), this.hasOwnKey]);
    if (shown === this.shown) return;
    this.shown = shown;
    const { wallet } = state;
    const hadFocus = this.place.contains(document.activeElement);
    fill(
      this.place,
      needsBackup(state) &&
        element("div", { class: "notice", "data-tone": "waiting" }, element("p", {}, t("dashboard_backup_reminder"))),
      element(
        "section",
        { class: "card stack", "aria-labelledby": "wallet-now-title" },
        element("h2", { id: "wallet-now-title", tabindex: "-1" }, t("dashboard_wallet_now")),
        wallet === null ? element("p", {}, t("dashboard_wallet_none")) : this.walletFacts(wallet),
        (this.hasOwnKey || wallet?.own === true) && this.keyButtons(wallet, needsBackup(state)),
        this.keyPlace,
      ),
    );
    if (hadFocus) byId("wallet-now-title", HTMLElement).focus();
  }

  /** The key is looked for when the section comes into view: the node may have made it meanwhile. */
  async showLog(): Promise<void> {
    const hasOwnKey = await hasOwnWallet(await this.board.store());
    if (hasOwnKey === this.hasOwnKey) return;
    this.hasOwnKey = hasOwnKey;
    await this.board.refresh();
  }

  private walletFacts(wallet: WalletChoice): HTMLElement {
    const copy = (): void => void this.copy(wallet.address, t("dashboard_wallet_copied"), this.keyMark);
    return element(
      "dl",
      { class: "facts" },
      element("dt", {}, t("dashboard_wallet_address")),
      element(
        "dd",
        { class: "row" },
        element("bdi", { class: "mono", dir: "ltr" }, wallet.address),
        element("button", { class: "button quiet small", type: "button", on: { click: copy } }, t("dashboard_copy")),
      ),
      element("dt", {}, t("dashboard_wallet_origin")),
      element("dd", {}, t(wallet.own ? "dashboard_wallet_own" : "dashboard_wallet_given")),
      wallet.own && element("dt", {}, t("dashboard_wallet_backup")),
      wallet.own && element("dd", {}, t(wallet.backed_up ? "dashboard_backed_up" : "dashboard_not_backed_up")),
    );
  }

  private keyButtons(wallet: WalletChoice | null, isUrgent: boolean): HTMLElement {
    const isInUse = wallet?.own === true;
    const show = (): void => void this.showRecoveryKey();
    const use = (): void => void this.useOwn();
    return element(
      "div",
      { class: "stack tight" },
      !isInUse && element("p", {}, t("dashboard_wallet_own_idle")),
      element(
        "div",
        { class: "row" },
        element(
          "button",
          { class: isUrgent ? "button primary" : "button", type: "button", on: { click: show } },
          t("dashboard_key_show"),
        ),
        !isInUse &&
          element("button", { class: "button", type: "button", on: { click: use } }, t("dashboard_wallet_use_own")),
      ),
    );
  }

  private async showRecoveryKey(): Promise<void> {
    const wanted = await askOwner({
      title: t("dashboard_key_title"),
      body: [
        element("p", {}, t("dashboard_key_what")),
        element("p", { class: "notice", "data-tone": "attention" }, t("dashboard_key_warning")),
      ],
      yes: t("dashboard_key_show"),
    });
    if (!wanted) return;
    let key: string;
    try {
      key = await recoveryKey(await this.board.store());
    } catch (error) {
      this.keyMark.showFault(t("dashboard_key_failed", wordsOf(error)));
      return;
    }
    const place = element("p", { class: "save-mark", role: "status" });
    const copied = new SaveMark(place, null);
    const copy = (): void => void this.copy(key, t("dashboard_key_copied"), copied);
    const answer = await showDialog(t("dashboard_key_title"), [
      element("p", { class: "notice", "data-tone": "attention" }, t("dashboard_key_warning")),
      element("p", { class: "secret mono", dir: "ltr", tabindex: "0", "aria-label": t("dashboard_key_title") }, key),
      element(
        "div",
        { class: "row" },
        element("button", { class: "button", type: "button", on: { click: copy } }, t("dashboard_copy")),
        place,
      ),
      element("p", { class: "small" }, t("dashboard_key_keep")),
      element(
        "div",
        { class: "row dialog-buttons" },
        element("button", { class: "button", value: "close" }, t("dashboard_close")),
        element("button", { class: "button primary", value: "safe" }, t("dashboard_key_safe")),
      ),
    ]);
    const { wallet } = this;
    if (answer === "safe" && wallet?.own) {
      this.mark.clear();
      await this.keyMark.save(() => writeState({ wallet: { ...wallet, backed_up: true } }), {
        words: t("dashboard_backed_up_saved"),
        undo: () => writeState({ wallet }),
      });
    }
  }

  private async useGiven(): Promise<void> {
    const address = this.input.value.trim();
    if (!isWallet(address)) return this.refuse(t("consent_wallet_invalid"));
    if (address === this.wallet?.address) return this.refuse(t("dashboard_wallet_same"));
    setFault(this.input, this.fault, null);
    if (await this.change({ address, own: false, backed_up: true })) this.input.value = "";
  }

  private refuse(words: string): void {
    this.mark.clear();
    setFault(this.input, this.fault, words);
    this.input.focus();
  }

  private async useOwn(): Promise<void> {
    try {
      const address = await ownWallet(await this.board.store());
      await this.change({ address, own: true, backed_up: false });
    } catch (error) {
      this.keyMark.showFault(t("dashboard_not_saved", wordsOf(error)));
    }
  }

  private async change(wallet: WalletChoice): Promise<boolean> {
    const before = this.wallet;
    const isSure = await askOwner({
      title: t("dashboard_wallet_change"),
      body: [
        element("p", {}, t("dashboard_wallet_change_ask")),
        element("p", { class: "mono secret", dir: "ltr" }, wallet.address),
        element("p", {}, t("dashboard_wallet_change_earlier")),
        before?.own === true &&
          !before.backed_up &&
          element("p", { class: "notice", "data-tone": "waiting" }, t("dashboard_wallet_change_backup")),
      ],
      yes: t("dashboard_wallet_use"),
    });
    if (!isSure) return false;
    // An older way back would bring back an older wallet.
    this.keyMark.clear();
    return await this.mark.save(() => writeState({ wallet }), {
      words: t("dashboard_wallet_changed", isolate(wallet.address)),
      undo: () => writeState({ wallet: before }),
      focus: this.input,
    });
  }

  private async copy(text: string, words: string, mark: SaveMark): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      mark.show(words);
    } catch (error) {
      mark.showFault(t("dashboard_copy_failed", wordsOf(error)));
    }
  }
}
