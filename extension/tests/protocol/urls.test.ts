/** URLs: the parts of what is allowed, the words of what is refused. */
import { expect, test } from "vitest";
import { type AllowedUrl, checkUrl, isRefusal, joinUrl } from "../../src/protocol/urls.ts";

function allowed(url: string): AllowedUrl {
  const checked = checkUrl(url);
  if (isRefusal(checked)) throw new Error(`${url}: ${checked.reason}`);
  return checked;
}

test.each([
  ["https://Example.org/a?b#c", "https://example.org/a?b", "https", "example.org", 443],
  ["http://example.org", "http://example.org/", "http", "example.org", 80],
  ["http://example.org:443/", "http://example.org:443/", "http", "example.org", 443],
  ["https://example.org:80/", "https://example.org:80/", "https", "example.org", 80],
  ["http://0x08080404/", "http://8.8.4.4/", "http", "8.8.4.4", 80],
  ["https://[2606:4700:0::1]/", "https://[2606:4700::1]/", "https", "2606:4700::1", 443],
] as const)("%s has its parts", (url, href, scheme, host, port) => {
  expect(checkUrl(url)).toEqual({ href, scheme, host, port });
});

test("a refusal is told from what is allowed", () => {
  expect(isRefusal(checkUrl("https://example.org/"))).toBe(false);
  expect(isRefusal(checkUrl("https://localhost/"))).toBe(true);
});

test("a refusal's words are short, and name no address", () => {
  for (const url of ["http://127.0.0.1/", "http://[::1]/", `${"x".repeat(2_000)}:a`, `http://${"a".repeat(2_030)}/`]) {
    const checked = checkUrl(url);
    if (!isRefusal(checked)) throw new Error(url);
    expect(checked.detail.length).toBeLessThan(120);
    expect(checked.detail).not.toMatch(/127|::1/);
  }
});

test.each([
  ["http://example.org./", "ends in a dot"],
  ["http://router/", "a single label"],
  ["http://a~b.example.org/", "no DNS name"],
  ["http://printer.local/", "names under .local"],
  ["http://nas.home.arpa/", "names under .arpa"],
])("%s is refused in words", (url, words) => {
  expect(checkUrl(url)).toMatchObject({ reason: "host_name", detail: expect.stringContaining(words) });
});

test("the first rule that does not hold is the reason", () => {
  const long = "a".repeat(2_048);
  for (const [url, reason] of [
    [`ftp://u@localhost:1/${long}`, "too_long"],
    ["ftp://u@localhost:1/", "scheme"],
    ["http://u@localhost:1/", "userinfo"],
    [`http://localhost:1/${"é".repeat(700)}`, "too_long"],
    ["http://localhost:1/", "port"],
    ["http://localhost/", "host_name"],
    [`\ud800${long}`, "too_long"],
    ["ftp://u@localhost:1/\ud800", "malformed"],
  ] as const) {
    expect(checkUrl(url)).toMatchObject({ reason });
  }
});

test("a reference is checked like a URL", () => {
  const page = allowed("https://example.org/a/b");
  expect(joinUrl(page, "../c?d#e")).toMatchObject({ href: "https://example.org/c?d" });
  expect(joinUrl(page, "//[::1]/")).toMatchObject({ reason: "private_address" });
  expect(joinUrl(page, `/\udfff${"a".repeat(3_000)}`)).toMatchObject({ reason: "malformed" });
  expect(joinUrl(page, "http://[")).toMatchObject({ reason: "malformed" });
});
