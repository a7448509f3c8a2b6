/** The popup below the toolbar icon: what the node does and why, today's use, what was earned, the last pages. */
import {
  askForUpdate,
  BROWSER,
  onStateChanged,
  openPage,
  readState,
  requestPermission,
} from "../../adapters/browser.ts";
import { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import { isAccepted } from "../../node/consent.ts";
import { JOURNAL_CHANNEL, type LogEntry, type UsageToday } from "../../node/journal.ts";
import { isPaused, momentOf } from "../../node/owner_rules.ts";
import type { Earnings, OwnerState, Pause } from "../../node/owner_state.ts";
import { byId, setText } from "../dom.ts";
import { type Action, explain } from "../explain.ts";
import { changeRules } from "../rules_change.ts";
import { StateCard } from "../state_card.ts";
import { applyText, formats, isolate, t, tCount } from "../text.ts";
import { LAST_PAGES, LastPages } from "./last_pages.ts";
import { inOneHour, tomorrowMorning } from "./pauses.ts";

const TICK_MS = 1_000;

const card = new StateCard(byId("state", HTMLElement), (action) => attempt(act(action)));
const last_pages = new LastPages(tellFault);
let state: OwnerState;
let usage: UsageToday | null = null;
let entries: readonly LogEntry[] = [];
let store: IndexedDbStore | null = null;
let reading: Promise<void> | null = null;
let read_again = false;

function show(): void {
  const now = new Date();
  card.show(explain(state, usage, now), now);
  const accepted = isAccepted(state.consent);
  byId("running", HTMLElement).hidden = !accepted;
  byId("dashboard", HTMLElement).hidden = !accepted;
  byId("pause", HTMLElement).hidden = isPaused(state.rules, now.getTime());
  showFinishing();
  showToday();
  showEarnings(state.earnings, now);
  last_pages.show(entries, state.rules, now);
  const tomorrow = formats.moment(tomorrowMorning(now), now);
  byId("pause-tomorrow", HTMLElement).setAttribute("aria-label", t("popup_pause_tomorrow_label", tomorrow));
}

/** Pages in hand go on where new ones are not begun. */
function showFinishing(): void {
  const { available, jobs_in_hand, state: standing } = state.standing;
  const finishing = byId("finishing", HTMLElement);
  finishing.hidden = jobs_in_hand === 0 || (available > 0 && standing === "connected");
  setText(finishing, tCount("state_finishing", jobs_in_hand));
}

function showToday(): void {
  const { daily_bytes } = state.rules;
  const used = usage?.bytes ?? 0;
  const words =
    daily_bytes === null
      ? t("popup_today_unlimited", formats.bytes(used))
      : t("popup_today_of", formats.bytes(used), formats.bytes(daily_bytes));
  setText(byId("today-bytes", HTMLElement), words);
  setText(byId("today-pages", HTMLElement), tCount("popup_pages", usage?.jobs ?? 0));
  const bar = byId("today-progress", HTMLProgressElement);
  bar.hidden = daily_bytes === null;
  bar.value = daily_bytes === null ? 0 : daily_bytes === 0 ? 1 : Math.min(1, used / daily_bytes);
}

function showEarnings(earnings: Earnings | null, now: Date): void {
  byId("earned", HTMLElement).hidden = earnings === null;
  byId("earned-why", HTMLElement).hidden = earnings === null;
  byId("earned-unknown", HTMLElement).hidden = earnings !== null;
  if (earnings === null) return;
  for (const part of ["pending", "confirmed", "paid", "void"] as const) {
    const place = byId(`earned-${part}`, HTMLElement);
    setText(place, formats.tokensBriefly(earnings[part]));
    place.title = formats.tokens(earnings[part]);
  }
  byId("earned-taken", HTMLElement).hidden = earnings.void === 0;
  const as_of = t("popup_earned_as_of", formats.relative(earnings.time_ms, now));
  setText(byId("earned-as-of", HTMLElement), as_of);
}

/** Read the log; a change while it is read has it read once more. */
async function readLog(): Promise<void> {
  read_again = true;
  reading ??= (async () => {
    try {
      while (read_again) {
        read_again = false;
        store ??= await IndexedDbStore.open();
        usage = await store.usageSince(momentOf(new Date()).day_start_ms);
        entries = await store.entries({ limit: LAST_PAGES });
      }
    } catch (error) {
      store = null;
      throw error;
    } finally {
      reading = null;
    }
  })();
  await reading;
  show();
}

async function act(action: Action): Promise<void> {
  switch (action.does) {
    case "open":
      await openPage(action.page);
      window.close();
      return;
    case "resume":
      return setPause(null);
    case "permit":
      await requestPermission();
      return;
    case "update":
      return lookForUpdate();
  }
}

async function lookForUpdate(): Promise<void> {
  if (BROWSER === "chrome") await askForUpdate();
  const told = byId("told", HTMLElement);
  told.hidden = false;
  setText(told, t(BROWSER === "chrome" ? "popup_update_asked" : "popup_update_by_hand"));
}

/** The buttons that were pressed go away: the focus goes to those that take their place. */
async function setPause(pause: Pause | null): Promise<void> {
  const { after } = await changeRules((rules) => ({ ...rules, pause }));
  state = { ...state, rules: after };
  show();
  if (pause === null) byId("pause-hour", HTMLButtonElement).focus();
  else card.focus();
}

function attempt(work: Promise<void>): void {
  byId("fault", HTMLElement).hidden = true;
  work.catch(tellFault);
}

function tellFault(error: unknown): void {
  const fault = byId("fault", HTMLElement);
  fault.hidden = false;
  setText(fault, t("popup_failed", isolate(error instanceof Error ? error.message : String(error))));
}

/** Whoever erased everything took the log on purpose. */
function tellLogFault(error: unknown): void {
  if (!isAccepted(state.consent)) return;
  const fault = byId("fault", HTMLElement);
  fault.hidden = false;
  setText(fault, t("popup_log_failed", isolate(error instanceof Error ? error.message : String(error))));
}

function listen(): void {
  const clicks: readonly (readonly [string, () => Promise<void>])[] = [
    ["pause-hour", () => setPause({ until_ms: inOneHour(new Date()) })],
    ["pause-tomorrow", () => setPause({ until_ms: tomorrowMorning(new Date()) })],
    ["pause-off", () => setPause({ until_ms: null })],
  ];
  for (const [id, work] of clicks) byId(id, HTMLButtonElement).addEventListener("click", () => attempt(work()));
  const why = byId("earned-why", HTMLButtonElement);
  why.addEventListener("click", () => {
    const explained = byId("earned-explained", HTMLElement);
    explained.hidden = !explained.hidden;
    why.setAttribute("aria-expanded", String(!explained.hidden));
  });
  byId("dashboard", HTMLAnchorElement).addEventListener("click", (event) => {
    event.preventDefault();
    attempt(openPage("dashboard.html").then(() => window.close()));
  });
  onStateChanged(() => {
    readState().then((fresh) => {
      state = fresh;
      show();
    }, tellFault);
  });
  const journal = new BroadcastChannel(JOURNAL_CHANNEL);
  journal.onmessage = () => void readLog().catch(tellLogFault);
  setInterval(() => document.visibilityState === "visible" && show(), TICK_MS);
}

applyText(document);
state = await readState();
listen();
show();
document.body.hidden = false;
await readLog().catch(tellLogFault);
