/**
 * What the browser's network code says of this node's own requests: which address answered, and what a redirect says,
 * which `fetch` keeps to itself.
 *
 * Each request carries a random tag in its URL's fragment, which is never sent and which every event repeats. A tag
 * stands for one request to one URL: a request under an unknown tag, or under a known one to another URL, never begins
 * where the browser lets an extension stop it (PROTOCOL.md, section 10.3).
 */

import { checkAddress, checkAnswer, isAddress } from "../protocol/addresses.ts";
import type { AllowedUrl, UrlRefusal } from "../protocol/urls.ts";
import type { OwnRequest, OwnResponse, RequestObserver } from "./browser.ts";
import { Word } from "./deadline.ts";

const TAG = "#meadow-";

/** Why a request was ended before, or as soon as, it connected. */
export type Stop =
  | { readonly why: "proxy" }
  | { readonly why: "unresolved" }
  | { readonly why: "refused"; readonly refusal: UrlRefusal };

export interface WatchOptions {
  /** The addresses of a name; rejects where it does not resolve. */
  readonly resolveName: (host: string) => Promise<readonly string[]>;
  readonly ownNetworks: () => readonly string[];
}

/** One request while it is watched. */
export class WatchedRequest {
  /** What to fetch: the URL with its tag. */
  readonly href: string;
  readonly url: AllowedUrl;
  stop: Stop | null = null;
  /** The head of the response, and the browser's own name of what went wrong. The first of each counts. */
  readonly response = new Word<OwnResponse>();
  readonly error = new Word<string>();

  constructor(url: AllowedUrl, tag: string) {
    this.url = url;
    this.href = url.href + tag;
  }
}

/** Watches this node's requests. Owned by the worker; give it to `guardOwnRequests` when the worker starts. */
export class RequestWatch implements RequestObserver {
  private readonly open = new Map<string, WatchedRequest>();

  constructor(private readonly options: WatchOptions) {}

  /** Watch a request to come. `close` ends it. */
  begin(url: AllowedUrl): WatchedRequest {
    const tag = TAG + crypto.randomUUID();
    const watched = new WatchedRequest(url, tag);
    this.open.set(tag, watched);
    return watched;
  }

  /** Forget a request: nothing may begin under its tag any more. */
  close(watched: WatchedRequest): void {
    this.open.delete(tagOf(watched.href));
  }

  async mayBegin(request: OwnRequest): Promise<boolean> {
    const watched = this.find(request.url);
    if (watched === undefined || request.url !== watched.href) return false;
    watched.stop = request.is_proxied ? { why: "proxy" } : await this.checkHost(watched.url.host);
    return watched.stop === null && this.find(request.url) === watched;
  }

  responded(response: OwnResponse): boolean {
    const watched = this.find(response.url);
    if (watched === undefined) return false;
    watched.response.say(response);
    if (response.ip === null) return response.is_internal;
    return checkAddress(response.ip, this.options.ownNetworks()) === null;
  }

  failed(url: string, error: string): void {
    this.find(url)?.error.say(error);
  }

  private async checkHost(host: string): Promise<Stop | null> {
    let addresses: readonly string[];
    try {
      addresses = isAddress(host) ? [host] : await this.options.resolveName(host);
    } catch {
      return { why: "unresolved" };
    }
    if (addresses.length === 0) return { why: "unresolved" };
    const refusal = checkAnswer(addresses, this.options.ownNetworks());
    return refusal === null ? null : { why: "refused", refusal };
  }

  private find(url: string): WatchedRequest | undefined {
    return this.open.get(tagOf(url));
  }
}

function tagOf(url: string): string {
  const start = url.indexOf("#");
  return start < 0 ? "" : url.slice(start);
}
