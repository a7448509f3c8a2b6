/** The fetch: one GET, redirects by hand, each checked and asked for before anything is connected, one deadline over all. */

import type { FetchedPage, Fetcher, FetchHooks, FetchOrder, NotFetched } from "../node/fetching.ts";
import { type AllowedUrl, isRefusal, joinUrl } from "../protocol/urls.ts";
import { unlessAborted } from "./deadline.ts";
import { GuardedRequests } from "./guarded_request.ts";

/** Fetches pages. Make it in the worker's first turn: a browser tells later listeners nothing. */
export class WebFetch implements Fetcher {
  private readonly requests: GuardedRequests;

  /** `ownNetworks` are CIDR blocks of this machine, asked at every response. */
  constructor({ ownNetworks }: { readonly ownNetworks: () => readonly string[] }) {
    this.requests = new GuardedRequests(ownNetworks);
  }

  /** Fetch a page within the order's bounds; `hooks.askHop` is awaited before each redirect, inside the deadline. */
  async fetch(order: FetchOrder, hooks: FetchHooks): Promise<FetchedPage | NotFetched> {
    const deadline = AbortSignal.timeout(order.timeout_ms);
    const signal = AbortSignal.any([hooks.signal, deadline]);
    try {
      return await this.follow(order, hooks, signal);
    } catch (error) {
      hooks.signal.throwIfAborted();
      if (!deadline.aborted) throw error;
      return failure("timeout", `not done within ${order.timeout_ms} ms`);
    }
  }

  private async follow(order: FetchOrder, hooks: FetchHooks, signal: AbortSignal): Promise<FetchedPage | NotFetched> {
    const countBytes = (count: number): boolean => hooks.countBytes(count);
    const visited = [order.url.href];
    let { url } = order;
    for (;;) {
      const step = await this.requests.request({ url, hops: visited.slice(1, -1), order }, { countBytes, signal });
      if (!("reference" in step)) return step;
      if (visited.length > order.max_redirects) {
        return failure("too_many_redirects", `more than ${order.max_redirects} redirects`);
      }
      const following = resolve(step.reference, url);
      if ("kind" in following) return following;
      const denied = await unlessAborted(hooks.askHop(following), signal);
      if (denied !== null) return denied;
      url = following;
      visited.push(url.href);
    }
  }
}

function resolve(reference: string, page: AllowedUrl): AllowedUrl | NotFetched {
  const checked = joinUrl(page, reference);
  if (!isRefusal(checked)) return checked;
  if (checked.reason === "malformed") return failure("bad_response", "the page redirects to what is no URL");
  return failure("hop_refused", `the page redirects to a refused URL: ${checked.detail}`);
}

function failure(reason: NotFetched["reason"], detail: string): NotFetched {
  return { kind: "failure", reason, detail };
}
