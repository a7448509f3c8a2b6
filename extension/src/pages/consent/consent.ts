/** The page that asks for consent: nothing is begun before its owner said yes here and to the browser's own question. */
import {
  hasPermission,
  onStateChanged,
  openPage,
  readState,
  requestPermission,
  uninstall,
  withdrawPermission,
  writeState,
} from "../../adapters/browser.ts";
import { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import { ownWallet } from "../../adapters/webcrypto_keys.ts";
import { isAccepted, TERMS_VERSION } from "../../node/consent.ts";
import { INITIAL_RULES, type OwnerState, type WalletChoice } from "../../node/owner_state.ts";
import { byId, setText } from "../dom.ts";
import { explain } from "../explain.ts";
import { StateCard } from "../state_card.ts";
import { rewardOf, TARIFF } from "../tariff.ts";
import { applyText, formats, isolate, t } from "../text.ts";
import { type Choice, DataChoice, WalletQuestion } from "./choices.ts";

const views = [byId("question", HTMLElement), byId("started", HTMLElement), byId("declined", HTMLElement)] as const;
const [question, started, declined] = views;
const accept = byId("accept", HTMLButtonElement);
const decline = byId("decline", HTMLButtonElement);
const outcome = byId("outcome", HTMLElement);
const data = new DataChoice();
const wallet = new WalletQuestion();
const state_card = new StateCard(byId("started-state", HTMLElement), () => void openPage("dashboard.html"));

/** The yes that waits for the browser's answer; a no in the meantime takes its place. */
let asked: Promise<boolean> | null = null;

/** Show one of the three views and, after a click, go to its heading. */
function show(view: HTMLElement, focus: boolean): void {
  for (const each of views) each.hidden = each !== view;
  if (!focus) return;
  view.querySelector("h1")?.focus();
  scrollTo({ top: 0 });
}

function tell(place: HTMLElement, words: string, tone: "waiting" | "attention"): void {
  place.setAttribute("data-tone", tone);
  place.hidden = false;
  setText(place, words);
}

/** Called straight from the click: the browser answers only to a question asked in the same turn. */
function onAccept(): void {
  outcome.hidden = true;
  const choice = readChoice();
  if (choice === null) return;
  accept.disabled = true;
  asked = requestPermission();
  tell(outcome, t("consent_working"), "waiting");
  void finish(asked, choice);
}

/** What was chosen; null where something is not right, which is then said beside it and gone to. */
function readChoice(): Choice | null {
  const daily_bytes = data.read();
  if (daily_bytes === null) return null;
  const address = wallet.read();
  return address === null ? null : { daily_bytes, address };
}

async function finish(answer: Promise<boolean>, choice: Choice): Promise<void> {
  try {
    const words = await act(answer, choice);
    if (words !== null && asked === answer) tell(outcome, words, "waiting");
  } catch (error) {
    tell(outcome, t("consent_failed", wordsOf(error)), "attention");
  } finally {
    if (asked === answer) forget();
  }
}

/** Begin, where the browser's answer is yes and no "no" came meanwhile; else the words to say. */
async function act(answer: Promise<boolean>, choice: Choice): Promise<string | null> {
  const granted = await answer;
  if (!granted) return t("consent_refused");
  const before = await readState();
  const wallet = await chosenWallet(choice, before);
  if (asked !== answer) {
    await withdrawPermission();
    return null;
  }
  await writeState({
    consent: { version: TERMS_VERSION, accepted_ms: Date.now() },
    rules: { ...INITIAL_RULES, ...before.rules, daily_bytes: choice.daily_bytes, pause: null },
    wallet,
  });
  outcome.hidden = true;
  show(started, true);
  await showState();
  return null;
}

function forget(): void {
  asked = null;
  accept.disabled = false;
}

async function chosenWallet({ address }: Choice, before: OwnerState): Promise<WalletChoice> {
  if (address !== "own") return { address, own: false, backed_up: false };
  if (before.wallet?.own) return before.wallet;
  const store = await IndexedDbStore.open();
  try {
    return { address: await ownWallet(store), own: true, backed_up: false };
  } finally {
    store.close();
  }
}

/** No: an earlier yes is taken back, and with it the permission. */
async function onDecline(): Promise<void> {
  const fault = byId("declined-fault", HTMLElement);
  forget();
  outcome.hidden = true;
  fault.hidden = true;
  show(declined, true);
  try {
    await writeState({ consent: null });
    if (await hasPermission()) await withdrawPermission();
  } catch (error) {
    tell(fault, t("popup_failed", wordsOf(error)), "attention");
  }
}

async function onRemove(): Promise<void> {
  try {
    await uninstall();
  } catch {
    byId("remove", HTMLButtonElement).focus();
  }
}

function onBack(): void {
  show(question, true);
}

async function showState(): Promise<void> {
  const now = new Date();
  state_card.show(explain(await readState(), null, now), now);
}

function wordsOf(error: unknown): string {
  return isolate(error instanceof Error ? error.message : String(error));
}

function showTariff(): void {
  const words = t(
    "consent_pays_tariff",
    TARIFF.version,
    formats.tokens(TARIFF.page_units),
    formats.tokens(TARIFF.kib_units),
    formats.tokens(rewardOf(100 * 1024)),
  );
  setText(byId("tariff", HTMLElement), words);
}

function showEarlier(state: OwnerState): void {
  const { consent } = state;
  byId("terms-changed", HTMLElement).hidden = consent === null || isAccepted(consent);
  byId("agreed", HTMLElement).hidden = !isAccepted(consent);
  if (consent !== null) {
    setText(byId("agreed-words", HTMLElement), t("consent_agreed", formats.dateTime(consent.accepted_ms)));
  }
  data.show(state.rules.daily_bytes);
  wallet.show(state.wallet);
}

applyText(document);
showTariff();
showEarlier(await readState());
accept.addEventListener("click", onAccept);
decline.addEventListener("click", () => void onDecline());
byId("remove", HTMLButtonElement).addEventListener("click", () => void onRemove());
byId("keep", HTMLButtonElement).addEventListener("click", () => window.close());
byId("back", HTMLButtonElement).addEventListener("click", onBack);
onStateChanged(() => void showState());
document.body.hidden = false;
