// The two manifests. What differs between the browsers stands here and nowhere else.
import { readFile } from "node:fs/promises";

export const BROWSERS = ["chrome", "firefox"];

const EXTENSION_PAGES_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src http: https: ws: wss:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const COMMON = {
  manifest_version: 3,
  name: "__MSG_extension_name__",
  short_name: "Meadow",
  description: "__MSG_extension_description__",
  default_locale: "en",
  icons: { 16: "icons/16.png", 32: "icons/32.png", 48: "icons/48.png", 128: "icons/128.png" },
  action: {
    default_title: "__MSG_extension_name__",
    default_popup: "popup.html",
    default_icon: { 16: "icons/16.png", 32: "icons/32.png" },
  },
  options_ui: { page: "dashboard.html", open_in_tab: true },
  optional_host_permissions: ["<all_urls>"],
  content_security_policy: { extension_pages: EXTENSION_PAGES_POLICY },
};

const PERMISSIONS = ["alarms", "declarativeNetRequestWithHostAccess", "storage", "unlimitedStorage", "webRequest"];

const OF_BROWSER = {
  chrome: {
    minimum_chrome_version: "142",
    permissions: [...PERMISSIONS, "offscreen"],
    background: { service_worker: "background.js", type: "module" },
    incognito: "not_allowed",
  },
  firefox: {
    permissions: [...PERMISSIONS, "dns", "webRequestBlocking"],
    background: { scripts: ["background.js"], type: "module" },
    incognito: "not_allowed",
    browser_specific_settings: {
      gecko: {
        id: "sharer@meadow.example",
        strict_min_version: "142.0",
        data_collection_permissions: { required: ["websiteContent", "financialAndPaymentInfo"] },
      },
    },
  },
};

/** The manifest of one browser's build; its version is the package's. */
export async function manifestFor(browser) {
  const { version } = JSON.parse(await readFile(new URL("package.json", import.meta.url), "utf8"));
  return { ...COMMON, version, ...OF_BROWSER[browser] };
}
