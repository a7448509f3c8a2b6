import { afterEach, expect, test, vi } from "vitest";
import type { FetchedPage, FetchHooks, NotFetched } from "../../src/node/fetching.ts";
import { type AllowedUrl, checkUrl, isRefusal } from "../../src/protocol/urls.ts";
import { type Played, SimulatedBrowser } from "./simulated_browser.ts";

const PAGE = "http://a.example.org/page";
const UNSEEN = {
  kind: "refusal",
  reason: "unsupported_mode",
  detail: "this browser does not tell which address answered",
};
const PROXIED = {
  kind: "refusal",
  reason: "unsupported_mode",
  detail: "this browser's requests go through a proxy, so no address can be checked",
  sign: "proxy",
};
const NOT_PUBLIC = "the address is not on the public internet";

interface Given {
  readonly url?: string;
  readonly own_networks?: readonly string[];
  readonly hooks?: Partial<FetchHooks>;
  readonly timeout_ms?: number;
  readonly with?: (browser: SimulatedBrowser) => void;
}

async function fetched(plays: Record<string, Played>, given: Given = {}) {
  vi.unstubAllGlobals();
  const browser = new SimulatedBrowser(plays);
  given.with?.(browser);
  browser.install();
  vi.resetModules();
  const { WebFetch } = await import("../../src/adapters/web_fetch.ts");
  const fetcher = new WebFetch({ ownNetworks: () => given.own_networks ?? [] });
  const url = checkUrl(given.url ?? PAGE);
  if (isRefusal(url)) throw new Error(url.detail);
  const order = {
    url,
    accept_language: null,
    max_wire_bytes: 1_000_000,
    max_body_bytes: 1_000_000,
    max_redirects: 3,
    timeout_ms: given.timeout_ms ?? 30_000,
  };
  const hooks = {
    askHop: async () => null,
    countBytes: () => true,
    signal: new AbortController().signal,
    ...given.hooks,
  };
  const outcome: FetchedPage | NotFetched = await fetcher.fetch(order, hooks);
  return { outcome, browser, urls: browser.asked.map(({ url }) => url) };
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("a page comes with its headers, and the request carries nothing of the sharer's", async () => {
  const { outcome, browser } = await fetched({ [PAGE]: { body: "words", headers: { ETag: '"1"' } } });
  expect(outcome).toMatchObject({ final_url: PAGE, hops: [], status: 200, body_bytes: 5, headers: [["etag", '"1"']] });
  expect(browser.asked[0]?.init).toMatchObject({
    method: "GET",
    credentials: "omit",
    cache: "no-store",
    referrerPolicy: "no-referrer",
    redirect: "manual",
    targetAddressSpace: "public",
    headers: { "Accept-Language": "*" },
  });
  expect(browser.rules).toMatchObject([
    { removeRuleIds: [1], addRules: [{ condition: { initiatorDomains: ["abcdefgh"], tabIds: [-1] } }] },
  ]);
});

test.each<[string, Played, object]>([
  ["of a response", { body: "words" }, { body_bytes: 5 }],
  ["of an address that is not public", { error: "net::ERR_FAILED" }, { reason: "address_refused" }],
  ["of a name without an address", { error: "net::ERR_NAME_NOT_RESOLVED" }, { reason: "dns_failed" }],
])("a word that lags behind is waited for: %s", async (_, play, expected) => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const probed = { error: "net::ERR_ADDRESS_INVALID" };
  const waiting = fetched({ [PAGE]: { ...play, says_later_ms: 8_000 }, "http://224.0.0.1/": probed });
  await vi.advanceTimersByTimeAsync(10_000);
  expect((await waiting).outcome).toMatchObject(expected);
});

test.each<[string, Played, object]>([
  ["that no event tells of", { is_unseen: true }, UNSEEN],
  ["that events tell of too late", { says_later_ms: 60_000 }, UNSEEN],
  ["of no known address", { ip: null }, PROXIED],
  ["of a private address", { ip: "10.0.0.1" }, { kind: "refusal", reason: "address_refused", detail: NOT_PUBLIC }],
  ["of a private address in IPv6", { ip: "::ffff:10.0.0.1" }, { reason: "address_refused" }],
  ["in no HTTP", { status_line: "HTTP/0.9 200 OK" }, { detail: "a.example.org answers with what is no HTTP" }],
])("a response %s is not read", async (_, play, expected) => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const waiting = fetched({ [PAGE]: { body: "secret", ...play } });
  await vi.advanceTimersByTimeAsync(20_000);
  const { outcome } = await waiting;
  expect(outcome).toMatchObject(expected);
  expect(outcome).not.toHaveProperty("payload");
});

test("a response out of the sharer's own network is the owner's matter", async () => {
  const { outcome } = await fetched({ [PAGE]: { body: "x" } }, { own_networks: ["93.184.216.0/24"] });
  expect(outcome).toMatchObject({ reason: "blocked_by_owner", detail: "the address is in this machine's own network" });
});

test("without rules for its headers, without address spaces or permission nothing is asked", async () => {
  const plays = { [PAGE]: { body: "x" } };
  const unguarded = {
    reason: "unsupported_mode",
    detail: "this browser does not let the extension guard its requests",
  };
  const ways: readonly (readonly [(browser: SimulatedBrowser) => void, object])[] = [
    [(browser) => Object.assign(browser, { takes_rules: false }), unguarded],
    [(browser) => Object.assign(browser, { knows_address_spaces: false }), unguarded],
    [(browser) => Object.assign(browser, { allowed: false }), { reason: "stopping" }],
  ];
  for (const [change, expected] of ways) {
    const { outcome, urls } = await fetched(plays, { with: change });
    expect(outcome).toMatchObject({ kind: "refusal", ...expected });
    expect(urls).toEqual([]);
  }
});

test("a host that browsers hide from extensions is not asked", async () => {
  const { outcome, urls } = await fetched({}, { url: "https://addons.mozilla.org/" });
  expect(outcome).toMatchObject({ kind: "refusal", reason: "unsupported_mode" });
  expect(urls).toEqual([]);
});

test("redirects are resolved, asked for and then followed", async () => {
  const asked: string[] = [];
  const askHop = async ({ href }: AllowedUrl): Promise<null> => {
    asked.push(href);
    return null;
  };
  const { outcome, urls } = await fetched(
    {
      [PAGE]: { status: 302, location: "//b.example.org/x#y" },
      "http://b.example.org/x": { status: 301, location: "z" },
      "http://b.example.org/z": { body: "words" },
    },
    { hooks: { askHop } },
  );
  expect(outcome).toMatchObject({ final_url: "http://b.example.org/z", hops: ["http://b.example.org/x"] });
  expect(asked).toEqual(["http://b.example.org/x", "http://b.example.org/z"]);
  expect(urls).toEqual([PAGE, ...asked]);
});

test.each<[string, Played, object]>([
  ["of a denied address", { location: "/next", ip: "10.0.0.1" }, { reason: "address_refused" }],
  ["to a denied address", { location: "http://10.0.0.1/" }, { reason: "hop_refused" }],
  ["to itself without end", { location: "" }, { reason: "too_many_redirects", detail: "more than 3 redirects" }],
  ["by the browser to https", { moved_to: "https://a.example.org/page#meadow-1" }, { reason: "dns_failed" }],
  ["by another extension", { moved_to: "https://other.example/page" }, { reason: "blocked_by_owner" }],
  ["by another extension, to another page", { moved_to: "https://a.example.org/" }, { reason: "blocked_by_owner" }],
])("a redirect %s", async (_, play, expected) => {
  const { outcome } = await fetched({ [PAGE]: { status: 302, ...play } });
  expect(outcome).toMatchObject(expected);
});

test("a refused hop and a denied address behind one are told as what they are", async () => {
  const plays = { [PAGE]: { status: 302, location: "http://b.example.org/" }, "http://b.example.org/": { ip: "::1" } };
  const behind = await fetched(plays);
  const detail = `the page redirects to a refused host: ${NOT_PUBLIC}`;
  expect(behind.outcome).toEqual({ kind: "failure", reason: "hop_refused", detail });
  const no: NotFetched = { kind: "failure", reason: "hop_refused", detail: "by the dispatcher" };
  const { outcome, urls } = await fetched(plays, { hooks: { askHop: async () => no } });
  expect([outcome, urls]).toEqual([no, [PAGE]]);
});

test.each<[string, string, Played, object]>([
  ["a name that is not public", PAGE, { error: "net::ERR_ADDRESS_INVALID" }, { reason: "address_refused" }],
  ["a proxy", PAGE, { error: "net::ERR_FAILED" }, PROXIED],
  ["a proxy, a literal being public", "http://93.184.216.34/", { error: "net::ERR_ADDRESS_INVALID" }, PROXIED],
])("Chromium's word on an address means %s", async (_, url, probed, expected) => {
  const { outcome } = await fetched({ [url]: { error: "net::ERR_FAILED" }, "http://224.0.0.1/": probed }, { url });
  expect(outcome).toMatchObject(expected);
});

test("a deadline ends a fetch also while the dispatcher thinks", async () => {
  const hooks = { askHop: () => new Promise<null>(() => {}) };
  const { outcome } = await fetched({ [PAGE]: { status: 302, location: "/x" } }, { hooks, timeout_ms: 50 });
  expect(outcome).toEqual({ kind: "failure", reason: "timeout", detail: "not done within 50 ms" });
});

test("an abort rejects with its reason, whatever it is", async () => {
  const controller = new AbortController();
  const why = { kind: "refusal", reason: "paused" };
  const askHop = () => {
    controller.abort(why);
    return new Promise<null>(() => {});
  };
  const aborted = fetched(
    { [PAGE]: { status: 302, location: "/x" } },
    { hooks: { askHop, signal: controller.signal } },
  );
  await expect(aborted).rejects.toBe(why);
});
