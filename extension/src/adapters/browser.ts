/**
 * The one file that touches the browser's extension APIs (`chrome.*`). Everything else sees these functions.
 *
 * Source: developer.chrome.com/docs/extensions/reference/api and MDN WebExtensions; Firefox offers the same names with
 * promises under `chrome` in Manifest V3.
 */
import { INITIAL_STATE, type OwnerState } from "../node/owner_state.ts";

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

/** Forget the whole state. */
export async function eraseState(): Promise<void> {
  await chrome.storage.local.clear();
}

// --- permission ----------------------------------------------------------------------------------------------------

const EVERY_SITE: chrome.permissions.Permissions = { origins: ["<all_urls>"] };

/** Ask for the right to read public sites. Must be called straight from a click. True where it is granted. */
export function requestPermission(): Promise<boolean> {
  return chrome.permissions.request(EVERY_SITE);
}

/** Whether the right to read public sites is granted. */
export function hasPermission(): Promise<boolean> {
  return chrome.permissions.contains(EVERY_SITE);
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
