/**
 * One request: a GET without anything of the sharer's, to a public address or nowhere (PROTOCOL.md, section 10.3).
 *
 * What keeps it out of the sharer's network. Firefox: the name is resolved and checked before the request begins, and
 * the connection takes that very answer. Chromium has no resolver for extensions: where its own tables say that the
 * address is not public, `targetAddressSpace` ends the request after connecting, before it is sent. In both, a response
 * whose address is not known or denied is dropped unread.
 */

import { type FetchedPage, type FetchHooks, type FetchOrder, type NotFetched, USER_AGENT } from "../node/fetching.ts";
import { checkAddress, isAddress } from "../protocol/addresses.ts";
import type { AllowedUrl, UrlRefusal } from "../protocol/urls.ts";
import { BoundedBody, readBodyHead } from "./bounded_body.ts";
import { ASKS_BEFORE_REQUESTS, guardOwnRequests, hasPermission, type OwnResponse, resolveName } from "./browser.ts";
import { Silence, unlessAborted } from "./deadline.ts";
import { isHidden } from "./hidden_hosts.ts";
import { isAboutTheAddress, PROXIED, unresolved, wordsFor, wordsForBody } from "./network_errors.ts";
import { RequestWatch, type WatchedRequest } from "./request_watch.ts";

const CONNECT_MS = 15_000;
const IDLE_MS = 15_000;
/** How long the browser's word on a request may lag behind its `fetch`: a busy machine takes its time. */
const WORD_MS = 10_000;
/** The same behind a body that broke off, where Firefox often says nothing at all. */
const BODY_WORD_MS = 2_000;
const PROBE_MS = 3_000;
/** An address for multicast: nothing connects to it, so only a proxy answers for it. */
const PROBE: AllowedUrl = { href: "http://224.0.0.1/", scheme: "http", host: "224.0.0.1", port: 80 };
/** A browser keeps the timings of 250 requests and then of no more. */
const TIMINGS_KEPT = 100;
const ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const [FIRST_STATUS, LAST_STATUS] = [200, 999];

/** `targetAddressSpace` as in wicg.github.io/local-network-access. */
type GuardedRequestInit = RequestInit & { readonly targetAddressSpace: "public" };

/** One hop on the way to a page: `hops` are the URLs between the order's and this one's. */
export interface Hop {
  readonly url: AllowedUrl;
  readonly hops: readonly string[];
  readonly order: FetchOrder;
}

/** `signal` bounds the request in time; `countBytes` as in a fetch. */
export type RequestHooks = Pick<FetchHooks, "countBytes" | "signal">;

/** Where a response sends its reader: `reference` as in its Location. */
export interface Redirect {
  readonly reference: string;
}

/** Makes requests, each watched. Make it in the worker's first turn: a browser tells later listeners nothing. */
export class GuardedRequests {
  private readonly watch: RequestWatch;
  private readonly isGuarded: Promise<boolean>;
  private count = 0;

  /** `ownNetworks` is asked at every response: a laptop that moves is judged by where it is now. */
  constructor(private readonly ownNetworks: () => readonly string[]) {
    this.watch = new RequestWatch({ ownNetworks, resolveName });
    this.isGuarded = guardOwnRequests(this.watch, USER_AGENT).then(
      () => ASKS_BEFORE_REQUESTS || knowsAddressSpaces(),
      (error: unknown) => {
        reportError(error);
        return false;
      },
    );
  }

  /** Fetch one hop. Rejects with the signal's reason only. */
  async request(hop: Hop, hooks: RequestHooks): Promise<FetchedPage | NotFetched | Redirect> {
    if (!(await unlessAborted(this.isGuarded, hooks.signal))) return UNGUARDED;
    if (!(await unlessAborted(hasPermission(), hooks.signal))) return WITHDRAWN;
    if (isHidden(hop.url.host)) {
      return refusal("unsupported_mode", `this browser lets no extension watch its requests to ${hop.url.host}`);
    }
    const literal = isAddress(hop.url.host) ? checkAddress(hop.url.host, this.ownNetworks()) : null;
    if (literal !== null) return addressRefused(literal, hop);
    const watched = this.watch.begin(hop.url);
    const [silence, left] = [new Silence(), new AbortController()];
    try {
      silence.restart(CONNECT_MS + IDLE_MS);
      const signal = AbortSignal.any([hooks.signal, silence.signal, left.signal]);
      const response = await this.send(watched, hop.order.accept_language, signal);
      if (response === null) return await unlessAborted(this.explain(watched, hop), signal);
      const head = await unlessAborted(watched.response.within(WORD_MS), signal);
      const step = this.judge(head, hop, response.type === "opaqueredirect") ?? oddStatus(response, hop.url);
      return step ?? (await this.read(response, watched, hop, hooks, silence));
    } catch (error) {
      hooks.signal.throwIfAborted();
      if (silence.signal.aborted) return failure("timeout", `${hop.url.host} was silent for too long`);
      throw error;
    } finally {
      silence.end();
      left.abort();
      this.watch.close(watched);
      this.count += 1;
      if (this.count % TIMINGS_KEPT === 0) performance.clearResourceTimings();
    }
  }

  /** Null where no response comes. Rejects with the signal's reason. */
  private async send(
    watched: WatchedRequest,
    accept_language: string | null,
    signal: AbortSignal,
  ): Promise<Response | null> {
    const init: GuardedRequestInit = {
      method: "GET",
      // The browser's own Accept-Language would tell the sharer's languages.
      headers: { Accept: ACCEPT, "Accept-Language": accept_language ?? "*" },
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "no-referrer",
      redirect: "manual",
      targetAddressSpace: "public",
      signal,
    };
    try {
      return await fetch(watched.href, init);
    } catch {
      signal.throwIfAborted();
      return null;
    }
  }

  /** Why nothing is read of a response, or where it leads instead; null for a page. */
  private judge(head: OwnResponse | null, hop: Hop, is_redirect: boolean): NotFetched | Redirect | null {
    if (head === null) return UNSEEN;
    if (head.is_internal) return moved(head.location, hop.url);
    if (head.ip === null) return PROXIED;
    const refusal = checkAddress(head.ip, this.ownNetworks());
    if (refusal !== null) return addressRefused(refusal, hop);
    const { host } = hop.url;
    if (head.status_line.startsWith("HTTP/0")) return failure("bad_response", `${host} answers with what is no HTTP`);
    if (!is_redirect) return null;
    if (head.location === null) return failure("bad_response", `${host} redirects without saying where to`);
    if (head.location === undefined) return failure("bad_response", "the page redirects to what is no URL");
    return { reference: head.location };
  }

  /** Why no response came. */
  private async explain(watched: WatchedRequest, hop: Hop): Promise<NotFetched | Redirect> {
    if (watched.stop?.why === "proxy") return PROXIED;
    if (watched.stop?.why === "unresolved") return unresolved(hop.url);
    if (watched.stop?.why === "refused") return addressRefused(watched.stop.refusal, hop);
    const head = await watched.response.within(0);
    const judged = head === null ? null : this.judge(head, hop, false);
    if (judged !== null) return judged;
    const error = await watched.error.within(WORD_MS);
    if (error === null || !isAboutTheAddress(error)) return wordsFor(error, hop.url);
    // Chromium says no more than that: a proxy's address, one that is not public, or a permission just withdrawn.
    if (!(await hasPermission())) return WITHDRAWN;
    if (isAddress(hop.url.host) || (await this.isProxied())) return PROXIED;
    return addressRefused(NOT_PUBLIC, hop);
  }

  private async isProxied(): Promise<boolean> {
    const probe = this.watch.begin(PROBE);
    try {
      if ((await this.send(probe, null, AbortSignal.timeout(PROBE_MS))) !== null) return true;
      const error = await probe.error.within(WORD_MS);
      return error !== null && (isAboutTheAddress(error) || wordsFor(error, PROBE) === PROXIED);
    } catch {
      return false;
    } finally {
      this.watch.close(probe);
    }
  }

  private async read(
    response: Response,
    watched: WatchedRequest,
    hop: Hop,
    hooks: RequestHooks,
    silence: Silence,
  ): Promise<FetchedPage | NotFetched> {
    const head = readBodyHead(response);
    if ("kind" in head) return head;
    const body = new BoundedBody(head, hop.order, hooks.countBytes);
    let refused = body.begin();
    const reader = response.body?.getReader();
    while (refused === null && reader !== undefined) {
      silence.restart(IDLE_MS);
      const piece = await nextPiece(reader);
      if (piece === "broken") {
        hooks.signal.throwIfAborted();
        silence.signal.throwIfAborted();
        refused = wordsForBody(await watched.error.within(BODY_WORD_MS), head.encoding, hop.url);
      } else if (piece === "end") {
        break;
      } else {
        refused = body.feed(piece);
      }
    }
    silence.end();
    const encoded = refused ?? (await body.finish(wireBytes(watched.href)));
    if ("kind" in encoded) return encoded;
    const headers = [...response.headers];
    return { final_url: hop.url.href, hops: hop.hops, status: response.status, headers, ...encoded };
  }
}

const UNGUARDED = refusal("unsupported_mode", "this browser does not let the extension guard its requests");
const UNSEEN = refusal("unsupported_mode", "this browser does not tell which address answered");
const WITHDRAWN = refusal("stopping", "the permission to read public sites was withdrawn");
const NOT_PUBLIC: UrlRefusal = { reason: "private_address", detail: "the address is not on the public internet" };

/** Say it by whose rule it is: the node's own network is its own matter, the rest holds on every node. */
function addressRefused({ reason, detail }: UrlRefusal, { url, order }: Hop): NotFetched {
  if (reason === "own_network") return refusal("blocked_by_owner", detail);
  if (url === order.url) return refusal("address_refused", detail);
  return failure("hop_refused", `the page redirects to a refused host: ${detail}`);
}

/** Without a server's word, a browser moves a request from http to https only; another extension moves it anywhere. */
function moved(location: string | null | undefined, url: AllowedUrl): NotFetched | Redirect {
  const upgraded = new URL(url.href);
  upgraded.protocol = "https:";
  const reference = (location ?? "").split("#", 1)[0];
  if (url.scheme === "http" && reference === upgraded.href) return { reference };
  return refusal("blocked_by_owner", `another extension of this browser sends requests for ${url.host} elsewhere`);
}

function oddStatus({ status }: Response, { host }: AllowedUrl): NotFetched | null {
  if (status >= FIRST_STATUS && status <= LAST_STATUS) return null;
  return failure("bad_response", `${host} answers with status ${status}`);
}

async function nextPiece(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<Uint8Array | "end" | "broken"> {
  try {
    const { done, value } = await reader.read();
    return done ? "end" : value;
  } catch {
    return "broken";
  }
}

/** The body's bytes as they were sent, null where the browser does not tell. */
function wireBytes(href: string): number | null {
  const timing = performance.getEntriesByName(href, "resource").at(-1);
  return timing instanceof PerformanceResourceTiming && timing.encodedBodySize > 0 ? timing.encodedBodySize : null;
}

/** A browser that knows the member refuses a value that it does not know. */
function knowsAddressSpaces(): boolean {
  try {
    new Request(PROBE.href, { targetAddressSpace: "none" } as RequestInit);
    return false;
  } catch {
    return true;
  }
}

function refusal(reason: NotFetched["reason"], detail: string): NotFetched {
  return { kind: "refusal", reason, detail };
}

function failure(reason: NotFetched["reason"], detail: string): NotFetched {
  return { kind: "failure", reason, detail };
}
