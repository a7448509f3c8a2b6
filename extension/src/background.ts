/**
 * The extension's worker: the only place that puts a node together.
 *
 * Every listener is registered before the first await: the browser starts the worker for an event and delivers it to
 * the listeners that exist when this file has run once.
 */
import {
  connectionKind,
  onAlarm,
  onBrowserStarted,
  onConnectionChanged,
  onInstalled,
  onPermissionChanged,
  onStateChanged,
  onUpdateWaiting,
  openPage,
  restartExtension,
  showBadge,
  unwatchMains,
  watchMains,
} from "./adapters/browser.ts";
import { BrowserNode } from "./adapters/browser_node.ts";
import { WebFetch } from "./adapters/web_fetch.ts";
import { ownNetwork } from "./node/own_networks.ts";
import type { OwnerState } from "./node/owner_state.ts";
import { badgeFor } from "./pages/badge.ts";

const OWNERS_KEYS: readonly (keyof OwnerState)[] = ["consent", "rules", "wallet", "dispatcher", "pinned_root"];

/** The newest of each family that a dispatcher told (PROTOCOL.md, section 10.2). */
const ownNetworks = new Map<"IPv4" | "IPv6", string>();
let onMains: boolean | null = null;
/** Null until it is known here: a page that an earlier worker opened for it may still be there. */
let watchesMains: boolean | null = null;

const node = new BrowserNode({
  fetcher: new WebFetch({ ownNetworks: () => [...ownNetworks.values()] }),
  surroundings: () => ({ connection: connectionKind(), on_mains: onMains }),
  atAddress: (address) => {
    const network = ownNetwork(address);
    if (network !== null) ownNetworks.set(network.includes(":") ? "IPv6" : "IPv4", network);
  },
  show: async (state) => {
    await followMains(state.rules.only_on_mains && state.consent !== null);
    await showBadge(badgeFor(state));
  },
});

async function followMains(wanted: boolean): Promise<void> {
  if (wanted === watchesMains) return;
  watchesMains = wanted;
  onMains = null;
  if (!wanted) return unwatchMains();
  await watchMains((on_mains) => {
    onMains = on_mains;
    void node.wake();
  });
}

onInstalled((reason) => {
  if (reason === "install") openPage("consent.html").catch(reportError);
  if (reason === "update") void node.updated();
});
onBrowserStarted(() => void node.wake());
onAlarm(() => void node.wake());
onPermissionChanged(() => void node.permissionChanged().catch(reportError));
onConnectionChanged(() => void node.wake());
onStateChanged((keys) => {
  if (keys.some((key) => OWNERS_KEYS.includes(key))) void node.wake();
});
onUpdateWaiting(() => void node.makeWay().catch(reportError).then(restartExtension));
void node.wake();
