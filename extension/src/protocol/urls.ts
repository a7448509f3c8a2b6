/**
 * Which URLs may be asked for (PROTOCOL.md, section 10.1).
 *
 * A URL is parsed by the browser's own `URL`: what it says is what `fetch` connects to. A refusal is a value with a
 * reason; its detail never carries an address that a name resolved to. Sources: WHATWG URL standard, RFC 6761, RFC 8375,
 * RFC 7686.
 */

import rules from "../../schema/rules-v1.json";
import { checkAddress, isAddress } from "./addresses.ts";
import { hasLoneSurrogate, toUtf8 } from "./bytes.ts";
import { LIMITS } from "./limits.ts";
import type { UrlReason, UrlRefusal } from "./refusal.ts";

export type { UrlReason, UrlRefusal } from "./refusal.ts";

/** A URL that may be asked for. `href` is normalised and has no fragment; `host` has no brackets. */
export interface AllowedUrl {
  readonly href: string;
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
}

const DEFAULT_PORTS: Readonly<typeof rules.ports> = rules.ports;
const PORTS: readonly number[] = Object.values(rules.ports);
const LABEL = new RegExp(rules.label_pattern, "u");
const SCHEME_SHOWN = 20;

/** Tell a refusal from what is allowed. */
export function isRefusal(checked: AllowedUrl | UrlRefusal): checked is UrlRefusal {
  return "reason" in checked;
}

/** Check a URL against the rules for what may be asked for, and normalise it. */
export function checkUrl(url: string): AllowedUrl | UrlRefusal {
  if (url.length > LIMITS.URL_BYTES || toUtf8(url).length > LIMITS.URL_BYTES) {
    return refusal("too_long", `a URL is limited to ${LIMITS.URL_BYTES} bytes`);
  }
  const parsed = parse(url);
  if (parsed === null) return refusal("malformed", "not an absolute URL (WHATWG URL standard)");
  return checkParsed(parsed);
}

/** Resolve a reference, such as a Location header, against an allowed URL and check what comes out. */
export function joinUrl(page: AllowedUrl, reference: string): AllowedUrl | UrlRefusal {
  const joined = parse(reference, page.href);
  if (joined === null) {
    return refusal("malformed", "the redirect's target is not a URL (WHATWG URL standard)");
  }
  return checkUrl(joined.href);
}

/** Half of a surrogate pair would be replaced silently by the parser: such a text is no URL. */
function parse(text: string, base?: string): URL | null {
  if (hasLoneSurrogate(text)) return null;
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
}

function checkParsed(parsed: URL): AllowedUrl | UrlRefusal {
  const scheme = parsed.protocol.slice(0, -1);
  if (scheme !== "http" && scheme !== "https") {
    return refusal("scheme", `the scheme is '${scheme.slice(0, SCHEME_SHOWN)}'; http and https are accepted`);
  }
  if (parsed.username !== "" || parsed.password !== "") {
    return refusal("userinfo", "the URL carries a user name or password");
  }
  parsed.hash = "";
  const { href } = parsed;
  if (href.length > LIMITS.URL_BYTES) {
    return refusal("too_long", `a URL is limited to ${LIMITS.URL_BYTES} bytes once normalised`);
  }
  const port = parsed.port === "" ? DEFAULT_PORTS[scheme] : Number(parsed.port);
  if (!PORTS.includes(port)) return refusal("port", `the port is ${port}; ${PORTS.join(" and ")} are accepted`);
  const is_bracketed = parsed.hostname.startsWith("[");
  const host = is_bracketed ? parsed.hostname.slice(1, -1) : parsed.hostname;
  const refused = is_bracketed || isAddress(host) ? checkAddress(host) : checkName(host);
  return refused ?? { href, scheme, host, port };
}

function checkName(host: string): UrlRefusal | null {
  if (host.endsWith(".")) return refusal("host_name", "the host name ends in a dot");
  if (!host.includes(".")) return refusal("host_name", "the host name has a single label");
  if (host.length > rules.name_bytes || !host.split(".").every((label) => LABEL.test(label))) {
    return refusal("host_name", "the host name is no DNS name of letters, digits, hyphens and underscores");
  }
  if (rules.refused_suffixes.some((suffix) => `.${host}`.endsWith(suffix))) {
    return refusal("host_name", `names under .${host.split(".").at(-1)} are not on the public internet`);
  }
  return null;
}

function refusal(reason: UrlReason, detail: string): UrlRefusal {
  return { reason, detail };
}
