/**
 * Hosts whose requests a browser keeps from extensions: no rule of ours holds there, and no event tells who answered.
 *
 * Sources: Firefox's preference extensions.webextensions.restrictedDomains; Chromium's
 * extensions/browser/api/web_request/web_request_permissions.cc and extensions/common/extension_urls.cc.
 */

const HIDDEN: readonly string[] = [
  "accounts-static.cdn.mozilla.net",
  "accounts.firefox.com",
  "addons.cdn.mozilla.net",
  "addons.mozilla.org",
  "api.accounts.firefox.com",
  "chrome.google.com",
  "chromewebstore.google.com",
  "clients2.google.com",
  "content.cdn.mozilla.net",
  "discovery.addons.mozilla.org",
  "oauth.accounts.firefox.com",
  "profile.accounts.firefox.com",
  "safebrowsing.googleapis.com",
  "sb-ssl.google.com",
  "support.mozilla.org",
  "sync.services.mozilla.com",
];

/** Whether a host, or one it is below of, is hidden from extensions in one of the browsers. */
export function isHidden(host: string): boolean {
  return HIDDEN.some((hidden) => `.${host}`.endsWith(`.${hidden}`));
}
