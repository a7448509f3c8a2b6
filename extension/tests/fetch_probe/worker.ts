/** A worker that holds nothing but the fetch. */

import { WebFetch } from "../../src/adapters/web_fetch.ts";
import { type FetchOrder, isPage, type NotFetched } from "../../src/node/fetching.ts";
import { type AllowedUrl, checkUrl, isRefusal } from "../../src/protocol/urls.ts";
import { CHANNEL, type Errand, type Report } from "./errand.ts";

const LARGEST_SHOWN = 1_000_000;

let ownNetworks: readonly string[] = [];
const fetcher = new WebFetch({ ownNetworks: () => ownNetworks });
const channel = new BroadcastChannel(CHANNEL);

channel.onmessage = async ({ data }: MessageEvent<Errand>) => channel.postMessage(await run(data));

async function run(errand: Errand): Promise<Report> {
  const hops_asked: string[] = [];
  const counted: number[] = [];
  const started_ms = performance.now();
  const report = (outcome: object, payload = ""): Report => {
    return { id: errand.id, outcome, payload, hops_asked, counted, took_ms: performance.now() - started_ms };
  };
  if (errand.socket) return report(await openSocket(errand.url));
  if (errand.untagged) return report(await fetchUntagged(errand.url));
  const url = errand.forced ? unchecked(errand.url) : checkUrl(errand.url);
  if (url === null || isRefusal(url)) return report({ kind: "unasked", ...url });
  ownNetworks = errand.own_networks ?? [];
  const order: FetchOrder = {
    url,
    accept_language: errand.accept_language ?? null,
    max_wire_bytes: errand.max_wire_bytes ?? 5_242_880,
    max_body_bytes: errand.max_body_bytes ?? 20_971_520,
    max_redirects: errand.max_redirects ?? 5,
    timeout_ms: errand.timeout_ms ?? 30_000,
  };
  const aborting = new AbortController();
  if (errand.abort_after_ms !== undefined) setTimeout(() => aborting.abort({ kind: "aborted" }), errand.abort_after_ms);
  const askHop = async (target: AllowedUrl): Promise<NotFetched | null> => {
    hops_asked.push(target.href);
    if (errand.hops_allowed === -1) return await new Promise(() => {});
    if (hops_asked.length <= (errand.hops_allowed ?? Number.POSITIVE_INFINITY)) return null;
    return { kind: "failure", reason: "hop_refused", detail: "by the dispatcher" };
  };
  const countBytes = (count: number): boolean => {
    counted.push(count);
    return counted.reduce((sum, one) => sum + one, 0) <= (errand.daily_bytes ?? Number.POSITIVE_INFINITY);
  };
  try {
    const result = await fetcher.fetch(order, { askHop, countBytes, signal: aborting.signal });
    if (!isPage(result)) return report(result);
    const { payload, ...page } = result;
    return report({ ...page, wire_bytes: payload.length }, payload.length > LARGEST_SHOWN ? "" : base64(payload));
  } catch (error) {
    return report({ kind: "rejected", reason: error === aborting.signal.reason ? "signal" : String(error) });
  }
}

/** A connection as the one to a dispatcher, to see that nothing of the fetch touches it. */
async function openSocket(url: string): Promise<object> {
  const socket = new WebSocket(url);
  const code = await new Promise((resolve) => {
    socket.onclose = (event) => resolve(event.code);
  });
  return { kind: "closed", code };
}

/** A request that the adapter did not make. */
async function fetchUntagged(url: string): Promise<object> {
  try {
    return { status: (await fetch(url, { credentials: "omit" })).status };
  } catch {
    return { kind: "failed" };
  }
}

function unchecked(text: string): AllowedUrl | null {
  if (!URL.canParse(text)) return null;
  const { href, protocol, hostname, port } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return null;
  const scheme = protocol === "http:" ? "http" : "https";
  const host = hostname.replace(/^\[|\]$/g, "");
  return { href: href.split("#", 1)[0] ?? "", scheme, host, port: Number(port) || (scheme === "http" ? 80 : 443) };
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
