/** The address of a dispatcher: where to dial, and the audience its challenge must name (PROTOCOL.md, section 6). */

export const SESSION_PATH = "/v1/node";

const SOCKET_SCHEMES: ReadonlyMap<string, "ws" | "wss"> = new Map([
  ["http:", "ws"],
  ["https:", "wss"],
  ["ws:", "ws"],
  ["wss:", "wss"],
]);
const EXPECTED = "a dispatcher is https://HOST[:PORT] or wss://HOST[:PORT]/v1/node";

/** `url` is dialled; `audience` is its scheme and host as the Host header of the request says it. */
export interface DispatcherUrl {
  readonly url: string;
  readonly audience: string;
}

/**
 * Read what the owner gave; RangeError says what is wrong and what is expected.
 *
 * `http(s)://host[:port]` stands for `ws(s)://host[:port]/v1/node`. Without TLS only this machine is dialled.
 */
export function parseDispatcherUrl(text: string): DispatcherUrl {
  const got = JSON.stringify(text.slice(0, 200));
  const parsed = URL.canParse(text) ? new URL(text) : null;
  const scheme = parsed === null ? undefined : SOCKET_SCHEMES.get(parsed.protocol);
  if (parsed === null || scheme === undefined || parsed.hostname === "" || parsed.hostname.endsWith(".")) {
    throw new RangeError(`${EXPECTED}; got ${got}`);
  }
  if (parsed.username !== "" || parsed.password !== "" || parsed.search !== "" || parsed.hash !== "") {
    throw new RangeError(`${EXPECTED}, without user name, query or fragment; got ${got}`);
  }
  const path = parsed.pathname === "/" ? "" : parsed.pathname;
  if (parsed.protocol.startsWith("http") && path !== "") {
    throw new RangeError(`${EXPECTED}; an http address takes no path, got ${path.slice(0, 100)}`);
  }
  if (scheme === "ws" && !isThisMachine(parsed.hostname)) {
    throw new RangeError(`ws and http are spoken with this machine only; use https for ${parsed.hostname}`);
  }
  const audience = `${scheme}://${parsed.host}`;
  return { url: `${audience}${path || SESSION_PATH}`, audience };
}

/** `hostname` comes out of the URL parser, which writes every IPv4 form with four numbers and IPv6 compressed. */
function isThisMachine(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
