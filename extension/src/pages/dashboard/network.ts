/** Whom this node works for: the dispatcher's address and trusted key, this node's own key, and their change. */
import { writeState } from "../../adapters/browser.ts";
import { parseDispatcherUrl } from "../../node/dispatcher_url.ts";
import { INITIAL_STATE, type OwnerState } from "../../node/owner_state.ts";
import { byId, element, fill, setText } from "../dom.ts";
import { isolate, type MessageKey, t } from "../text.ts";
import type { Board, Section } from "./board.ts";
import { setFault } from "./field_fault.ts";
import { askOwner } from "./owner_dialog.ts";
import { SaveMark } from "./save_mark.ts";

export class NetworkSection implements Section {
  private readonly input = byId("dispatcher-input", HTMLInputElement);
  private readonly fault = byId("dispatcher-fault", HTMLElement);
  private readonly standard = byId("dispatcher-standard", HTMLButtonElement);
  private readonly mark: SaveMark;
  private state: OwnerState | null = null;
  private shown = "";

  constructor(board: Board) {
    this.mark = new SaveMark(byId("dispatcher-mark", HTMLElement), board);
    byId("dispatcher-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.useGiven();
    });
    this.standard.addEventListener("click", () => void this.change(INITIAL_STATE.dispatcher));
    byId("forget-root", HTMLButtonElement).addEventListener("click", () => void this.forgetRoot());
  }

  showState(state: OwnerState): void {
    this.state = state;
    const isUntrusted = isStoppedForItsKey(state);
    byId("untrusted", HTMLElement).hidden = !isUntrusted;
    const { trouble } = state.standing;
    setText(
      byId("untrusted-trouble", HTMLElement),
      trouble === "" ? "" : t("dashboard_untrusted_trouble", isolate(trouble)),
    );
    this.standard.hidden = state.dispatcher === INITIAL_STATE.dispatcher;
    const facts: [MessageKey, string, MessageKey][] = [
      ["dashboard_dispatcher_address", state.dispatcher, "dashboard_dispatcher_means"],
      ["dashboard_root_key", state.pinned_root ?? t("dashboard_root_key_none"), "dashboard_root_key_means"],
      ["dashboard_node_key", state.standing.node_key || t("dashboard_node_key_none"), "dashboard_node_key_means"],
    ];
    const shown = JSON.stringify(facts);
    if (shown === this.shown) return;
    this.shown = shown;
    fill(
      byId("network-facts", HTMLElement),
      ...facts.flatMap(([label, value, meaning]) => [
        element("dt", {}, t(label)),
        element("dd", {}, element("bdi", { class: "mono" }, value), element("p", { class: "hint" }, t(meaning))),
      ]),
    );
  }

  private async useGiven(): Promise<void> {
    const address = this.input.value.trim();
    const invalid = faultOf(address);
    if (invalid !== null) return this.refuse(t(invalid));
    if (address === this.state?.dispatcher) return this.refuse(t("dashboard_dispatcher_same"));
    setFault(this.input, this.fault, null);
    if (await this.change(address)) this.input.value = "";
  }

  private refuse(words: string): void {
    this.mark.clear();
    setFault(this.input, this.fault, words);
    this.input.focus();
  }

  /** Another dispatcher has another root key: the remembered one goes with the address, and comes back with it. */
  private async change(dispatcher: string): Promise<boolean> {
    const { state } = this;
    if (state === null) return false;
    const isSure = await askOwner({
      title: t("dashboard_dispatcher_change"),
      body: [
        element("p", {}, t("dashboard_dispatcher_ask")),
        element("p", { class: "mono secret", dir: "ltr" }, dispatcher),
        element("p", { class: "notice", "data-tone": "waiting" }, t("dashboard_dispatcher_warning")),
        element("p", {}, t("dashboard_dispatcher_key")),
      ],
      yes: t("dashboard_dispatcher_use"),
    });
    if (!isSure) return false;
    const before = { dispatcher: state.dispatcher, pinned_root: state.pinned_root };
    return await this.mark.save(() => writeState({ dispatcher, pinned_root: null }), {
      words: t("dashboard_dispatcher_changed", isolate(dispatcher)),
      undo: () => writeState(before),
      focus: this.input,
    });
  }

  private async forgetRoot(): Promise<void> {
    const pinned_root = this.state?.pinned_root ?? null;
    const isSure = await askOwner({
      title: t("dashboard_forget_root"),
      body: [
        element("p", {}, t("dashboard_forget_ask")),
        element("p", { class: "mono secret", dir: "ltr" }, pinned_root ?? ""),
        element("p", { class: "notice", "data-tone": "attention" }, t("dashboard_forget_warning")),
      ],
      tick: t("dashboard_forget_tick"),
      yes: t("dashboard_forget_root"),
      danger: true,
    });
    if (!isSure) return;
    await this.mark.save(() => writeState({ pinned_root: null }), {
      words: t("dashboard_forgotten"),
      undo: () => writeState({ pinned_root }),
      focus: byId("network-title", HTMLElement),
    });
  }
}

/** Whether the node stands still because the dispatcher showed another root key than the one remembered. */
export function isStoppedForItsKey({ standing, pinned_root, dispatcher }: OwnerState): boolean {
  return standing.state === "untrusted" && standing.dispatcher === dispatcher && pinned_root !== null;
}

function faultOf(address: string): MessageKey | null {
  try {
    parseDispatcherUrl(address);
    return null;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return /^(http|ws):\/\//i.test(address) ? "dashboard_dispatcher_insecure" : "dashboard_dispatcher_invalid";
  }
}
