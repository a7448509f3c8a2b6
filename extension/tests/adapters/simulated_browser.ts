/** As much of a browser in memory as the fetch touches: what `fetch` brings, and what webRequest says beside it. */

import { vi } from "vitest";

type Listener = (details: Record<string, unknown>) => unknown;

/** What comes of one request: the response, what the events say of it, and when they say it. */
export interface Played {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly ip?: string | null;
  readonly error?: string;
  readonly location?: string;
  readonly status_line?: string;
  /** The browser itself moves the request there. */
  readonly moved_to?: string;
  readonly is_unseen?: boolean;
  readonly says_later_ms?: number;
}

const ORIGIN = "chrome-extension://abcdefgh";

/** Chromium, playing an answer for each URL; what it was asked for is in `asked`. */
export class SimulatedBrowser {
  readonly asked: { readonly url: string; readonly init: Record<string, unknown> }[] = [];
  readonly rules: unknown[] = [];
  readonly complaints: unknown[] = [];
  allowed = true;
  knows_address_spaces = true;
  takes_rules = true;
  private readonly listeners = new Map<string, Listener[]>();

  constructor(private readonly plays: Record<string, Played>) {}

  /** Stand in for the browser's globals until `vi.unstubAllGlobals`. */
  install(): void {
    vi.stubGlobal("__BROWSER__", "chrome");
    vi.stubGlobal("chrome", this.api());
    vi.stubGlobal("fetch", (url: string, init: Record<string, unknown>) => this.fetch(url, init));
    const knows = (): boolean => this.knows_address_spaces;
    const Real = Request;
    class Guarded extends Real {
      constructor(input: string, init?: RequestInit & { targetAddressSpace?: string }) {
        if (knows() && init?.targetAddressSpace === "none") throw new TypeError("no such address space");
        super(input, init);
      }
    }
    vi.stubGlobal("Request", Guarded);
    vi.stubGlobal("reportError", (error: unknown) => this.complaints.push(error));
  }

  private api(): object {
    const event = (name: string) => ({
      addListener: (listener: Listener) => this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]),
    });
    return {
      runtime: { id: "abcdefgh", getURL: (path: string) => `${ORIGIN}/${path}` },
      permissions: { contains: async () => this.allowed, onAdded: event("added") },
      webRequest: Object.fromEntries(
        ["onBeforeRedirect", "onErrorOccurred", "onResponseStarted"].map((name) => [name, event(name)]),
      ),
      declarativeNetRequest: {
        updateSessionRules: async (rules: unknown) => {
          if (!this.takes_rules) throw new Error("no rules");
          this.rules.push(rules);
        },
      },
    };
  }

  private async fetch(tagged: string, init: Record<string, unknown>): Promise<Response> {
    const [url = ""] = tagged.split("#");
    this.asked.push({ url, init });
    const play = this.plays[url] ?? { error: "net::ERR_NAME_NOT_RESOLVED" };
    if (!play.is_unseen) setTimeout(() => this.say(tagged, play), play.says_later_ms ?? 0);
    if (play.error !== undefined) throw new TypeError("Failed to fetch");
    const leads_on = play.location !== undefined || play.moved_to !== undefined;
    const status = play.status ?? 200;
    const stream = new ReadableStream({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode(play.body ?? ""));
        controller.close();
      },
    });
    const bodiless = leads_on || [204, 304].includes(status);
    const response = new Response(bodiless ? null : stream, { status, headers: play.headers ?? {} });
    if (leads_on) Object.defineProperty(response, "type", { value: "opaqueredirect" });
    return response;
  }

  private say(url: string, play: Played): void {
    const ours = { url, tabId: -1, initiator: ORIGIN, type: "xmlhttprequest" };
    const theirs = { ...ours, initiator: "https://page.example", tabId: 3 };
    const { ip = "93.184.216.34", location, moved_to, error, status_line = "HTTP/1.1 200 Said" } = play;
    const head = {
      statusLine: status_line,
      responseHeaders: location === undefined ? [] : [{ name: "Location", value: location }],
      ...(ip !== null && moved_to === undefined && { ip }),
      ...(moved_to !== undefined && { redirectUrl: moved_to }),
    };
    const name =
      error !== undefined ? "onErrorOccurred" : moved_to !== undefined ? "onBeforeRedirect" : "onResponseStarted";
    for (const listener of this.listeners.get(name) ?? []) {
      listener({ ...theirs, ...head, ip: "10.0.0.1", error: "net::ERR_ABORTED" });
      listener({ ...ours, ...head, ...(error !== undefined && { error }) });
    }
  }
}
