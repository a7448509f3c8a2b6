import { describe, expect, test } from "vitest";
import type { OwnResponse } from "../../src/adapters/browser.ts";
import { RequestWatch, type WatchedRequest } from "../../src/adapters/request_watch.ts";
import type { AllowedUrl } from "../../src/protocol/urls.ts";

const URL_: AllowedUrl = { href: "http://a.example.org/x?y", scheme: "http", host: "a.example.org", port: 80 };
const LITERAL: AllowedUrl = { href: "http://10.0.0.1/", scheme: "http", host: "10.0.0.1", port: 80 };

function watching(addresses: readonly string[] | Error, own_networks: readonly string[] = []) {
  const asked: string[] = [];
  const watch = new RequestWatch({
    ownNetworks: () => own_networks,
    resolveName: async (host) => {
      asked.push(host);
      if (addresses instanceof Error) throw addresses;
      return addresses;
    },
  });
  return { watch, asked };
}

function responseTo(watched: WatchedRequest, more: Partial<OwnResponse> = {}): OwnResponse {
  const said = { ip: "93.184.216.34", status_line: "HTTP/1.1 200 OK", location: null, is_internal: false };
  return { url: watched.href, ...said, ...more };
}

describe("a request", () => {
  test("has a tag of its own in its fragment", () => {
    const { watch } = watching([]);
    const [one, other] = [watch.begin(URL_), watch.begin(URL_)];
    expect(one.href).toMatch(/^http:\/\/a\.example\.org\/x\?y#meadow-[0-9a-f-]{36}$/);
    expect(one.href).not.toBe(other.href);
  });

  test("begins where every address of its name may be connected to", async () => {
    const { watch, asked } = watching(["93.184.216.34", "2606:2800:220:1::1"]);
    const watched = watch.begin(URL_);
    expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(true);
    expect(asked).toEqual(["a.example.org"]);
    expect(watched.stop).toBeNull();
  });

  test.each([[["93.184.216.34", "10.0.0.1"]], [["::1"]], [["fe80::1%eth0"]], [["not an address"]]])(
    "does not begin where its name leads to %j",
    async (addresses) => {
      const { watch } = watching(addresses);
      const watched = watch.begin(URL_);
      expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(false);
      expect(watched.stop).toMatchObject({ why: "refused" });
    },
  );

  test("does not begin where its name leads into the sharer's own network", async () => {
    const { watch } = watching(["93.184.216.34"], ["93.184.216.0/24"]);
    const watched = watch.begin(URL_);
    expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(false);
    expect(watched.stop).toMatchObject({ refusal: { reason: "own_network" } });
  });

  test.each([[new Error("NS_ERROR_UNKNOWN_HOST")], [[]]])(
    "does not begin where its name does not resolve",
    async (no) => {
      const { watch } = watching(no);
      const watched = watch.begin(URL_);
      expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(false);
      expect(watched.stop).toEqual({ why: "unresolved" });
    },
  );

  test("does not begin through a proxy, and asks for no name then", async () => {
    const { watch, asked } = watching(["93.184.216.34"]);
    const watched = watch.begin(URL_);
    expect(await watch.mayBegin({ url: watched.href, is_proxied: true })).toBe(false);
    expect([watched.stop, asked]).toEqual([{ why: "proxy" }, []]);
  });

  test("to a literal is checked without a resolver", async () => {
    const { watch, asked } = watching(["93.184.216.34"]);
    const watched = watch.begin(LITERAL);
    expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(false);
    expect(asked).toEqual([]);
  });

  test("under no tag, an unknown one or another request's does not begin", async () => {
    const { watch, asked } = watching(["93.184.216.34"]);
    const [watched, other] = [watch.begin(URL_), watch.begin({ ...URL_, href: "http://b.example.org/" })];
    const [, tag] = watched.href.split("#");
    const urls = [
      URL_.href,
      `${URL_.href}#`,
      `${URL_.href}#meadow-`,
      `https://a.example.org/x?y#${tag}`,
      `${watched.href}x`,
      other.href.replace("b.example", "a.example"),
    ];
    for (const url of urls) expect(await watch.mayBegin({ url, is_proxied: false }), url).toBe(false);
    watch.close(watched);
    expect(await watch.mayBegin({ url: watched.href, is_proxied: false })).toBe(false);
    expect(asked).toEqual([]);
  });

  test("that was given up while its name was asked for does not begin", async () => {
    const { watch } = watching(["93.184.216.34"]);
    const watched = watch.begin(URL_);
    const asked = watch.mayBegin({ url: watched.href, is_proxied: false });
    watch.close(watched);
    expect(await asked).toBe(false);
  });
});

describe("a response", () => {
  test("is heard by who waits, also when it came before", async () => {
    const { watch } = watching([]);
    const watched = watch.begin(URL_);
    const waiting = watched.response.within(1_000);
    expect(watch.responded(responseTo(watched))).toBe(true);
    watch.responded(responseTo(watched, { ip: "93.184.216.35" }));
    expect(await waiting).toEqual(responseTo(watched));
    expect(await watched.response.within(0)).toEqual(responseTo(watched));
    expect(await watched.error.within(0)).toBeNull();
  });

  test("of an address that is denied or not known does not go on", () => {
    const { watch } = watching([], ["93.184.216.0/24"]);
    const watched = watch.begin(URL_);
    for (const ip of ["10.0.0.1", "::1", "93.184.216.34", "fe80::1%eth0", "", null]) {
      expect(watch.responded(responseTo(watched, { ip })), String(ip)).toBe(false);
    }
    expect(watch.responded(responseTo(watched, { ip: null, is_internal: true }))).toBe(true);
    expect(watch.responded({ ...responseTo(watched), url: URL_.href })).toBe(false);
  });

  test("and an error reach the request they are about", async () => {
    const { watch } = watching([]);
    const [one, other] = [watch.begin(URL_), watch.begin(URL_)];
    watch.failed(other.href, "net::ERR_FAILED");
    watch.failed(URL_.href, "net::ERR_ABORTED");
    expect(await one.error.within(0)).toBeNull();
    expect(await other.error.within(0)).toBe("net::ERR_FAILED");
  });
});
