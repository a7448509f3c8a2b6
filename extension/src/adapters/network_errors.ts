/**
 * The browsers' names of network errors in the protocol's words (PROTOCOL.md, section 5.2). The browsers' own words may
 * carry an address or be in the owner's language: they are not used.
 *
 * Sources: Chromium's net/base/net_error_list.h; Firefox's xpcom/base/ErrorList.py. Firefox says errors of TLS in a
 * sentence of its own language and all others by a name that begins with NS_.
 */

import type { NotFetched } from "../node/fetching.ts";
import type { AllowedUrl } from "../protocol/urls.ts";

/** The words for a browser whose requests go through a proxy: the address that answers cannot be checked. */
export const PROXIED: NotFetched = {
  kind: "refusal",
  reason: "unsupported_mode",
  detail: "this browser's requests go through a proxy, so no address can be checked",
  sign: "proxy",
};

const ABORTED = "NS_ERROR_ABORT";

type Words = (url: AllowedUrl) => NotFetched;

const silent: Words = ({ host }) => failure("timeout", `${host} was silent for too long`);
const unconnected: Words = ({ host, port }) => failure("connect_failed", `no connection to ${host}, port ${port}`);
const brokenOff: Words = ({ host }) => failure("bad_response", `the answer of ${host} broke off or is no HTTP`);

// The first pattern that fits the whole name decides.
const CHROMIUM: readonly (readonly [RegExp, Words])[] = [
  [/NAME_NOT_RESOLVED|NAME_RESOLUTION_FAILED|DNS_.*|ICANN_NAME_COLLISION/, unresolved],
  [/(PROXY|SOCKS|PAC|TUNNEL)_.*|MANDATORY_PROXY_.*|NO_SUPPORTED_PROXIES|.*_PROXY_CONNECTION/, () => PROXIED],
  [/CERT_.*|CERTIFICATE_.*/, ({ host }) => failure("tls_failed", `the certificate of ${host} is not valid`)],
  [
    /SSL_.*|BAD_SSL_.*|ECH_.*|EARLY_DATA_.*|TLS13_.*/,
    ({ host }) => failure("tls_failed", `no TLS connection with ${host}`),
  ],
  [/TIMED_OUT|CONNECTION_TIMED_OUT/, silent],
  [/CONNECTION_(REFUSED|FAILED)|ADDRESS_.*|INVALID_ARGUMENT|INTERNET_DISCONNECTED|NETWORK_.*/, unconnected],
  [/BLOCKED_BY_CLIENT/, ({ host }) => blocked(`another extension of this browser blocks ${host}`)],
  [/BLOCKED_BY_ADMINISTRATOR/, ({ host }) => blocked(`this browser's administrator blocks ${host}`)],
  [/CONTENT_DECODING_.*/, () => undecodable()],
  [/UNSAFE_REDIRECT/, () => failure("hop_refused", "the page redirects to a refused URL: http and https are accepted")],
  [/INVALID_REDIRECT/, () => failure("bad_response", "the page redirects to what is no URL")],
  [/.*/, brokenOff],
];

const FIREFOX: readonly (readonly [RegExp, Words])[] = [
  [/ERROR_UNKNOWN_HOST|ERROR_DNS_.*/, unresolved],
  [/ERROR_(UNKNOWN_)?PROXY_.*/, () => PROXIED],
  [/ERROR_NET_TIMEOUT.*/, silent],
  [/ERROR_(CONNECTION_REFUSED|OFFLINE|CONNECTION_TIMEOUT|SOCKET_.*|PORT_ACCESS_NOT_ALLOWED)/, unconnected],
  // Before a response: another extension. Later: the browser itself, as when its network changes.
  [/ERROR_ABORT/, ({ host }) => blocked(`another extension of this browser blocks ${host}`)],
  [/ERROR_INVALID_CONTENT_ENCODING/, () => undecodable()],
  [/.*/, brokenOff],
];

/** The words for a name that does not resolve. */
export function unresolved({ host }: AllowedUrl): NotFetched {
  return failure("dns_failed", `the name ${host} does not resolve`);
}

/** Whether Chromium ended a request because of the address it connected to: not public, or a proxy's. */
export function isAboutTheAddress(error: string): boolean {
  return /^net::ERR_(FAILED|INCONSISTENT_IP_ADDRESS_SPACE|BLOCKED_BY_(LOCAL|PRIVATE)_NETWORK_ACCESS_CHECKS)$/.test(
    error,
  );
}

/** The words for a body that broke off. Firefox names no error where it cannot decode a body. */
export function wordsForBody(error: string | null, encoding: string, url: AllowedUrl): NotFetched {
  if (error === null && encoding !== "identity") return undecodable();
  return error === ABORTED ? brokenOff(url) : wordsFor(error, url);
}

/** Put an error into the protocol's words; `error` null: the browser did not name it. */
export function wordsFor(error: string | null, url: AllowedUrl): NotFetched {
  if (error === null) return brokenOff(url);
  const [, browser, name] = /^(net::ERR_|NS_)([A-Z0-9_]+)$/.exec(error) ?? [];
  if (name === undefined) {
    return failure("tls_failed", `no TLS connection with ${url.host}, or its certificate is not valid`);
  }
  const table = browser === "NS_" ? FIREFOX : CHROMIUM;
  const [, words] = table.find(([pattern]) => pattern.exec(name)?.[0] === name) ?? [];
  return (words ?? brokenOff)(url);
}

function undecodable(): NotFetched {
  return failure("body_corrupt", "the body's data is damaged");
}

function failure(reason: NotFetched["reason"], detail: string): NotFetched {
  return { kind: "failure", reason, detail };
}

function blocked(detail: string): NotFetched {
  return { kind: "refusal", reason: "blocked_by_owner", detail };
}
