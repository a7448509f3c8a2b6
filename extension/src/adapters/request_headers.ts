/**
 * Headers of this node's requests and their responses: a site learns what asks, and nothing about the sharer; a browser
 * does for the page only what reading it takes. Names in lower case.
 */

/** What Firefox sends besides User-Agent: it drops every other header. */
export const HEADERS_SENT: readonly string[] = ["host", "accept", "accept-language", "accept-encoding", "connection"];

const CLIENT_HINTS: readonly string[] = [
  "ua",
  "ua-arch",
  "ua-bitness",
  "ua-form-factors",
  "ua-full-version",
  "ua-full-version-list",
  "ua-mobile",
  "ua-model",
  "ua-platform",
  "ua-platform-version",
  "ua-wow64",
  "device-memory",
  "dpr",
  "prefers-color-scheme",
  "prefers-reduced-motion",
  "prefers-reduced-transparency",
  "viewport-height",
  "viewport-width",
  "width",
];

/** What Chromium does not send: its rules can remove headers by name only. */
export const HEADERS_REMOVED: readonly string[] = [
  "authorization",
  "available-dictionary",
  "cookie",
  "device-memory",
  "dictionary-id",
  "dnt",
  "downlink",
  "dpr",
  "ect",
  "origin",
  "priority",
  "referer",
  "rtt",
  "save-data",
  ...CLIENT_HINTS.map((hint) => `sec-ch-${hint}`),
  ...["dest", "mode", "site", "storage-access", "user"].map((name) => `sec-fetch-${name}`),
  "sec-gpc",
  "sec-purpose",
  "upgrade-insecure-requests",
  "viewport-width",
  "width",
  "x-client-data",
  "x-requested-with",
];

/**
 * What no browser gets to see of a response, for it would act on it: connect to where the page says (RFC 7838), send
 * reports there, keep or delete what the sharer has of the site (RFC 6265, RFC 6797, w3.org/TR/clear-site-data).
 */
export const RESPONSE_HEADERS_REMOVED: readonly string[] = [
  "accept-ch",
  "alt-svc",
  "clear-site-data",
  "nel",
  "report-to",
  "reporting-endpoints",
  "set-cookie",
  "strict-transport-security",
  "use-as-dictionary",
];
