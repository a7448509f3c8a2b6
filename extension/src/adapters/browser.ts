/**
 * The one file that touches the browser's extension APIs (`chrome.*`). Everything else sees these functions.
 *
 * Source: developer.chrome.com/docs/extensions/reference/api and MDN WebExtensions; Firefox offers the same names with
 * promises under `chrome` in Manifest V3.
 */
import { INITIAL_STATE, type OwnerState } from "../node/owner_state.ts";
import { HEADERS_REMOVED, HEADERS_SENT, RESPONSE_HEADERS_REMOVED } from "./request_headers.ts";

/** Set by the build. A condition on it leaves no trace of what the other browser alone offers. */
declare const __BROWSER__: "chrome" | "firefox";

/** Which of the two builds this is. */
export const BROWSER: "chrome" | "firefox" = __BROWSER__;

// --- storage -------------------------------------------------------------------------------------------------------

/** Read the whole state; keys never written have their initial value. */
export async function readState(): Promise<OwnerState> {
  return { ...INITIAL_STATE, ...(await chrome.storage.local.get(null)) };
}

/** Write some keys, all or none. Rejects where the profile's disk is full. */
export async function writeState(changes: Partial<OwnerState>): Promise<void> {
  await chrome.storage.local.set(changes);
}

/** Call back after every change of the state, whoever made it, with the names of the changed keys. */
export function onStateChanged(listener: (keys: readonly (keyof OwnerState)[]) => void): void {
  chrome.storage.onChanged.addListener((changes, area) => {
    if (area === "local") listener(Object.keys(changes) as (keyof OwnerState)[]);
  });
}

/** Forget some keys of the state: they have their initial value again. */
export async function forgetState(keys: readonly (keyof OwnerState)[]): Promise<void> {
  await chrome.storage.local.remove([...keys]);
}

/** Forget the whole state. */
export async function eraseState(): Promise<void> {
  await chrome.storage.local.clear();
}

// --- permission ----------------------------------------------------------------------------------------------------

const EVERY_SITE: chrome.permissions.Permissions = { origins: ["<all_urls>"] };
/** What is fetched from. Chromium denies having EVERY_SITE once it was withdrawn and granted again, though it has it. */
const EVERY_WEB_SITE: chrome.permissions.Permissions = { origins: ["http://*/*", "https://*/*"] };

/** Ask for the right to read public sites. Must be called straight from a click. True where it is granted. */
export function requestPermission(): Promise<boolean> {
  return chrome.permissions.request(EVERY_SITE);
}

/** Whether the right to read public sites is granted. */
export function hasPermission(): Promise<boolean> {
  return chrome.permissions.contains(EVERY_WEB_SITE);
}

/** Give the right back. */
export function withdrawPermission(): Promise<boolean> {
  return chrome.permissions.remove(EVERY_SITE);
}

/** Call back when the right was granted or withdrawn, by whatever way the browser offers. */
export function onPermissionChanged(listener: () => void): void {
  chrome.permissions.onAdded.addListener(listener);
  chrome.permissions.onRemoved.addListener(listener);
}

// --- life of the worker --------------------------------------------------------------------------------------------

const WAKE_ALARM = "wake";
const DIAL_ALARM = "dial";

/** Call back when the extension was installed or updated. */
export function onInstalled(listener: (reason: "install" | "update" | "other") => void): void {
  chrome.runtime.onInstalled.addListener(({ reason }) => {
    listener(reason === "install" || reason === "update" ? reason : "other");
  });
}

/** Call back when the browser started. */
export function onBrowserStarted(listener: () => void): void {
  chrome.runtime.onStartup.addListener(listener);
}

/** Call back at every alarm set by `keepWaking` or `wakeAt`. */
export function onAlarm(listener: () => void): void {
  chrome.alarms.onAlarm.addListener(listener);
}

/** Have the worker started every 30 seconds, also after the browser ended it. Setting it again changes nothing. */
export async function keepWaking(): Promise<void> {
  if ((await chrome.alarms.get(WAKE_ALARM)) === undefined) {
    await chrome.alarms.create(WAKE_ALARM, { periodInMinutes: 0.5 });
  }
}

/** Have the worker started at a moment (UTC ms), or up to 30 seconds later. */
export async function wakeAt(time_ms: number): Promise<void> {
  await chrome.alarms.create(DIAL_ALARM, { when: time_ms });
}

/** Take back every alarm. */
export async function stopWaking(): Promise<void> {
  await chrome.alarms.clearAll();
}

/** Any call of an extension API restarts the browser's 30 s of patience with an idle worker (Firefox needs it). */
export async function stayAwake(): Promise<void> {
  await chrome.runtime.getPlatformInfo();
}

/** Call back when a newer version of the extension was fetched and waits to be installed. */
export function onUpdateWaiting(listener: () => void): void {
  chrome.runtime.onUpdateAvailable.addListener(listener);
}

/** Ask the store for a newer version, where the browser lets an extension ask. */
export async function askForUpdate(): Promise<void> {
  if (__BROWSER__ === "chrome") await chrome.runtime.requestUpdateCheck();
}

/** Install a waiting update: ends this worker and every page of the extension. */
export function restartExtension(): void {
  chrome.runtime.reload();
}

// --- words ---------------------------------------------------------------------------------------------------------

/** A message of `_locales` in the browser's language, or in English; empty where none has the name. */
export function messageText(name: string, substitutions: readonly string[]): string {
  return chrome.i18n.getMessage(name, [...substitutions]);
}

/** The languages the browser's owner reads (BCP 47), the best first. */
export function uiLanguages(): readonly string[] {
  return [chrome.i18n.getUILanguage(), ...navigator.languages];
}

// --- badge and tabs ------------------------------------------------------------------------------------------------

/** Show text (at most four characters; empty: none), its ground colour and a title on the toolbar icon. */
export async function showBadge(badge: { text: string; colour: string; title: string }): Promise<void> {
  await chrome.action.setBadgeBackgroundColor({ color: badge.colour });
  await chrome.action.setBadgeTextColor({ color: "#ffffff" });
  await chrome.action.setBadgeText({ text: badge.text });
  await chrome.action.setTitle({ title: badge.title });
}

/** Open a page of the extension in a tab, or go to the tab that already shows it; `page` may end in `#section`. */
export async function openPage(page: string): Promise<void> {
  const url = chrome.runtime.getURL(page);
  const [open] = await chrome.tabs.query({ url: url.replace(/#.*$/, "*") });
  if (open?.id === undefined) {
    await chrome.tabs.create({ url });
    return;
  }
  await chrome.tabs.update(open.id, page.includes("#") ? { active: true, url } : { active: true });
  await chrome.windows.update(open.windowId, { focused: true });
}

/** Take the extension out of the browser, which asks its owner first. Rejects where the owner keeps it. */
export async function uninstall(): Promise<void> {
  await chrome.management.uninstallSelf({ showConfirmDialog: true });
}

// --- surroundings --------------------------------------------------------------------------------------------------

const MAINS_PAGE = "offscreen.html";
const MAINS_CHANNEL = "meadow-mains";

/** What the offscreen page and the worker tell each other. */
type MainsMessage = { readonly ask: true } | { readonly on_mains: boolean };

let mainsChannel: BroadcastChannel | null = null;

/** Whether this browser tells at all whether the computer is on mains: Chrome does, Firefox does not. */
export function canTellMains(): boolean {
  return BROWSER === "chrome";
}

/**
 * Be told whether the computer is on mains: soon, and after every change. A worker has no battery API, so an offscreen
 * page is opened for it. Calling again replaces the listener. Does nothing where the browser does not tell.
 */
export async function watchMains(listener: (on_mains: boolean) => void): Promise<void> {
  if (__BROWSER__ !== "chrome") return;
  mainsChannel?.close();
  const channel = new BroadcastChannel(MAINS_CHANNEL);
  mainsChannel = channel;
  channel.onmessage = (event: MessageEvent<MainsMessage>) => {
    if ("on_mains" in event.data) listener(event.data.on_mains);
  };
  if (!(await chrome.offscreen.hasDocument())) {
    await chrome.offscreen.createDocument({
      url: MAINS_PAGE,
      reasons: [chrome.offscreen.Reason.BATTERY_STATUS],
      justification: "Work only while the computer is plugged in, as its owner chose.",
    });
  }
  const question: MainsMessage = { ask: true };
  channel.postMessage(question);
}

/** No longer be told, and close the offscreen page. */
export async function unwatchMains(): Promise<void> {
  mainsChannel?.close();
  mainsChannel = null;
  if (__BROWSER__ === "chrome" && (await chrome.offscreen.hasDocument())) await chrome.offscreen.closeDocument();
}

/** For the offscreen page: tell the worker now, whenever it asks, and after every change. */
export function reportMains(battery: { readonly charging: boolean } & EventTarget): void {
  const channel = new BroadcastChannel(MAINS_CHANNEL);
  const tell = (): void => {
    const message: MainsMessage = { on_mains: battery.charging };
    channel.postMessage(message);
  };
  channel.onmessage = (event: MessageEvent<MainsMessage>) => {
    if ("ask" in event.data) tell();
  };
  battery.addEventListener("chargingchange", tell);
  tell();
}

/** The Network Information API, where the browser has it. */
interface NetworkInformation extends EventTarget {
  readonly type?: string;
}

function networkInformation(): NetworkInformation | undefined {
  return (navigator as Navigator & { readonly connection?: NetworkInformation }).connection;
}

/** Whether this browser tells the kind of the connection: some do, on some systems. */
export function canTellConnection(): boolean {
  return connectionKind() !== "unknown";
}

/** How the computer is connected; `wifi` is Wi-Fi or cable, which nobody pays by the megabyte as a rule. */
export function connectionKind(): "wifi" | "other" | "unknown" {
  const type = networkInformation()?.type;
  if (type === undefined || type === "unknown" || type === "none") return "unknown";
  return type === "wifi" || type === "ethernet" ? "wifi" : "other";
}

/** Call back when the kind of the connection may have changed, where the browser tells. */
export function onConnectionChanged(listener: () => void): void {
  networkInformation()?.addEventListener("change", listener);
}

// --- requests ------------------------------------------------------------------------------------------------------

/** A request of this extension's background that is about to begin; `url` with its fragment. */
export interface OwnRequest {
  readonly url: string;
  readonly is_proxied: boolean;
}

/**
 * The head of a response. `ip` is null where the browser does not tell who answered; `location` is null without that
 * header, undefined where its bytes are not UTF-8. `is_internal`: no server spoke, the browser or another extension
 * sends the request to `location`, as HSTS does (RFC 6797).
 */
export interface OwnResponse {
  readonly url: string;
  readonly ip: string | null;
  readonly status_line: string;
  readonly location: string | null | undefined;
  readonly is_internal: boolean;
}

/** Who watches the requests of this extension's background. It hears of no other request. */
export interface RequestObserver {
  /** Firefox: the request waits for the answer; false ends it before it connects. */
  mayBegin(request: OwnRequest): Promise<boolean>;
  /** Firefox: false ends the request before its body comes. */
  responded(response: OwnResponse): boolean;
  failed(url: string, error: string): void;
}

/** Where false, `mayBegin` is never asked, and `targetAddressSpace` keeps requests out of the sharer's network. */
export const ASKS_BEFORE_REQUESTS: boolean = BROWSER === "firefox";

/** Of one event or another; the last two are Firefox's own. */
type RequestDetails = chrome.webRequest.OnResponseStartedDetails & {
  readonly error?: string;
  readonly redirectUrl?: string;
  readonly requestHeaders?: chrome.webRequest.HttpHeader[];
  readonly originUrl?: string;
  readonly proxyInfo?: { readonly type: string } | null;
};
type Verdict = chrome.webRequest.BlockingResponse;
type RequestListener = (details: RequestDetails) => Verdict | Promise<Verdict> | undefined;
interface RequestEvent {
  addListener(listener: RequestListener, filter: object, ...extra: readonly string[][]): void;
  removeListener(listener: RequestListener): void;
}

const NO_TAB = -1;
const HEADERS_RULE = 1;
/** What Chromium calls a `fetch`. */
const FETCHES = ["xmlhttprequest" as const];

/**
 * Watch this background's own requests and fix their headers. Call it once, in the worker's first turn; resolves when
 * the headers are in force, before which no request may be made.
 */
export async function guardOwnRequests(observer: RequestObserver, user_agent: string): Promise<void> {
  // Firefox hands over no request of a page: it keeps to `tabId`, which Chromium reads as any tab.
  const filter = {
    urls: ["http://*/*", "https://*/*"],
    tabId: NO_TAB,
    ...(BROWSER === "chrome" && { types: FETCHES }),
  };
  const events = chrome.webRequest as unknown as Record<string, RequestEvent>;
  const watch = (event: string, extra: readonly string[], listener: RequestListener): void => {
    const ownOnly: RequestListener = (details) => (isOwn(details) ? listener(details) : undefined);
    const listen = (): void => events[event]?.addListener(ownOnly, filter, ...(extra.length > 0 ? [[...extra]] : []));
    listen();
    // Chromium: a listener from before the permission was granted never hears of the sites that it covers.
    chrome.permissions.onAdded.addListener(() => {
      events[event]?.removeListener(ownOnly);
      listen();
    });
  };
  const hear: RequestListener = (details) => void observer.responded(responseOf(details));
  watch("onBeforeRedirect", ["responseHeaders"], hear);
  watch("onErrorOccurred", [], ({ url, error = "" }) => void observer.failed(url, error));
  if (BROWSER === "chrome") {
    watch("onResponseStarted", ["responseHeaders"], hear);
    await fixHeaders(user_agent);
    return;
  }
  watch("onBeforeRequest", ["blocking"], async ({ url, proxyInfo }) => {
    const is_proxied = (proxyInfo?.type ?? "direct") !== "direct";
    return { cancel: !(await observer.mayBegin({ url, is_proxied })) };
  });
  watch("onBeforeSendHeaders", ["blocking", "requestHeaders"], ({ requestHeaders = [] }) => {
    const kept = requestHeaders.filter(({ name }) => HEADERS_SENT.includes(name.toLowerCase()));
    return { requestHeaders: [...kept, { name: "User-Agent", value: user_agent }] };
  });
  watch("onHeadersReceived", ["blocking", "responseHeaders"], (details) => {
    const kept = details.responseHeaders?.filter(({ name }) => !RESPONSE_HEADERS_REMOVED.includes(name.toLowerCase()));
    return { cancel: !observer.responded(responseOf(details)), responseHeaders: kept };
  });
}

/** The resolver that Firefox lends to extensions; @types/chrome does not know it. */
interface Resolver {
  resolve(host: string, flags: readonly string[]): Promise<{ readonly addresses: readonly string[] }>;
}

/** Firefox: the addresses of a name, asked anew and kept for the connection that follows. Rejects without any. */
export async function resolveName(host: string): Promise<readonly string[]> {
  const { dns } = chrome as unknown as { readonly dns: Resolver };
  return (await dns.resolve(host, ["bypass_cache"])).addresses;
}

/** Chromium: rules of a session outlast the worker, so this one takes its own place anew. */
async function fixHeaders(user_agent: string): Promise<void> {
  const set = { header: "user-agent", operation: "set" as const, value: user_agent };
  const remove = (header: string) => ({ header, operation: "remove" as const });
  const requestHeaders = [set, ...HEADERS_REMOVED.map(remove)];
  const responseHeaders = RESPONSE_HEADERS_REMOVED.map(remove);
  const condition = { initiatorDomains: [chrome.runtime.id], tabIds: [NO_TAB], resourceTypes: FETCHES };
  const action = { type: "modifyHeaders" as const, requestHeaders, responseHeaders };
  const addRules = [{ id: HEADERS_RULE, condition, action }];
  await chrome.declarativeNetRequest.updateSessionRules({ removeRuleIds: [HEADERS_RULE], addRules });
}

function isOwn({ tabId, initiator, originUrl = "" }: RequestDetails): boolean {
  return tabId === NO_TAB && `${initiator ?? originUrl}/`.startsWith(chrome.runtime.getURL(""));
}

function responseOf({ url, ip, statusLine, redirectUrl, responseHeaders }: RequestDetails): OwnResponse {
  const is_internal = redirectUrl !== undefined && (ip ?? null) === null;
  const header = responseHeaders?.find(({ name }) => name.toLowerCase() === "location");
  const location = is_internal ? redirectUrl : header === undefined ? null : textOf(header);
  return { url, ip: ip ?? null, status_line: statusLine, location, is_internal };
}

/** A header's value as UTF-8, undefined where it is none. Firefox gives each byte as a character of its own. */
function textOf({ value }: chrome.webRequest.HttpHeader): string | undefined {
  if (BROWSER === "chrome" || value === undefined) return value;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(value, (byte) => byte.charCodeAt(0)));
  } catch {
    return undefined;
  }
}
