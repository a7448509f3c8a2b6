import { describe, expect, test } from "vitest";
import { isAboutTheAddress, PROXIED, wordsFor, wordsForBody } from "../../src/adapters/network_errors.ts";
import type { AllowedUrl } from "../../src/protocol/urls.ts";

const URL_: AllowedUrl = { href: "https://a.example.org/x", scheme: "https", host: "a.example.org", port: 443 };

const SAID: readonly (readonly [string | null, string, string])[] = [
  ["net::ERR_NAME_NOT_RESOLVED", "dns_failed", "the name a.example.org does not resolve"],
  ["net::ERR_DNS_TIMED_OUT", "dns_failed", "the name a.example.org does not resolve"],
  ["NS_ERROR_UNKNOWN_HOST", "dns_failed", "the name a.example.org does not resolve"],
  ["net::ERR_CONNECTION_REFUSED", "connect_failed", "no connection to a.example.org, port 443"],
  ["net::ERR_ADDRESS_UNREACHABLE", "connect_failed", "no connection to a.example.org, port 443"],
  ["net::ERR_NETWORK_CHANGED", "connect_failed", "no connection to a.example.org, port 443"],
  ["net::ERR_INTERNET_DISCONNECTED", "connect_failed", "no connection to a.example.org, port 443"],
  ["NS_ERROR_CONNECTION_REFUSED", "connect_failed", "no connection to a.example.org, port 443"],
  ["NS_ERROR_OFFLINE", "connect_failed", "no connection to a.example.org, port 443"],
  ["net::ERR_CERT_AUTHORITY_INVALID", "tls_failed", "the certificate of a.example.org is not valid"],
  ["net::ERR_CERTIFICATE_TRANSPARENCY_REQUIRED", "tls_failed", "the certificate of a.example.org is not valid"],
  ["net::ERR_SSL_PROTOCOL_ERROR", "tls_failed", "no TLS connection with a.example.org"],
  [
    "Das Zertifikat ist abgelaufen.",
    "tls_failed",
    "no TLS connection with a.example.org, or its certificate is not valid",
  ],
  ["net::ERR_CONNECTION_TIMED_OUT", "timeout", "a.example.org was silent for too long"],
  ["NS_ERROR_NET_TIMEOUT", "timeout", "a.example.org was silent for too long"],
  ["net::ERR_EMPTY_RESPONSE", "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  ["net::ERR_CONNECTION_RESET", "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  [
    "net::ERR_RESPONSE_HEADERS_MULTIPLE_LOCATION",
    "bad_response",
    "the answer of a.example.org broke off or is no HTTP",
  ],
  ["net::ERR_UNEXPECTED_PROXY_AUTH", "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  ["NS_ERROR_NET_RESET", "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  ["NS_ERROR_CORRUPTED_CONTENT", "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  [null, "bad_response", "the answer of a.example.org broke off or is no HTTP"],
  ["net::ERR_INVALID_REDIRECT", "bad_response", "the page redirects to what is no URL"],
  ["net::ERR_UNSAFE_REDIRECT", "hop_refused", "the page redirects to a refused URL: http and https are accepted"],
  ["net::ERR_CONTENT_DECODING_FAILED", "body_corrupt", "the body's data is damaged"],
  ["NS_ERROR_INVALID_CONTENT_ENCODING", "body_corrupt", "the body's data is damaged"],
  ["net::ERR_BLOCKED_BY_CLIENT", "blocked_by_owner", "another extension of this browser blocks a.example.org"],
  ["NS_ERROR_ABORT", "blocked_by_owner", "another extension of this browser blocks a.example.org"],
  ["net::ERR_BLOCKED_BY_ADMINISTRATOR", "blocked_by_owner", "this browser's administrator blocks a.example.org"],
];

describe("the words for an error", () => {
  test.each(SAID)("%s: %s, %s", (error, reason, detail) => {
    const kind = reason === "blocked_by_owner" ? "refusal" : "failure";
    expect(wordsFor(error, URL_)).toEqual({ kind, reason, detail });
  });

  test.each([
    "net::ERR_PROXY_CONNECTION_FAILED",
    "net::ERR_TUNNEL_CONNECTION_FAILED",
    "net::ERR_SOCKS_CONNECTION_HOST_UNREACHABLE",
    "net::ERR_MANDATORY_PROXY_CONFIGURATION_FAILED",
    "net::ERR_PAC_SCRIPT_FAILED",
    "NS_ERROR_UNKNOWN_PROXY_HOST",
    "NS_ERROR_PROXY_CONNECTION_REFUSED",
  ])("%s is a proxy's", (error) => {
    expect(wordsFor(error, URL_)).toBe(PROXIED);
  });

  test("never repeat what the browser said", () => {
    for (const [error] of SAID) {
      if (error !== null) expect(wordsFor(error, URL_).detail).not.toContain(error);
    }
    expect(wordsFor("connection to 10.0.0.1 failed", URL_).detail).not.toContain("10.0.0.1");
  });

  test("for a body know what Firefox leaves unsaid", () => {
    expect(wordsForBody(null, "gzip", URL_).reason).toBe("body_corrupt");
    expect(wordsForBody(null, "identity", URL_).reason).toBe("bad_response");
    expect(wordsForBody("NS_ERROR_NET_PARTIAL_TRANSFER", "gzip", URL_).reason).toBe("bad_response");
    expect(wordsForBody("NS_ERROR_ABORT", "identity", URL_).reason).toBe("bad_response");
    expect(wordsForBody("net::ERR_CONTENT_DECODING_FAILED", "br", URL_).reason).toBe("body_corrupt");
  });

  test("for an address are left to who can tell a proxy", () => {
    expect(isAboutTheAddress("net::ERR_FAILED")).toBe(true);
    expect(isAboutTheAddress("net::ERR_BLOCKED_BY_LOCAL_NETWORK_ACCESS_CHECKS")).toBe(true);
    expect(isAboutTheAddress("net::ERR_CONNECTION_FAILED")).toBe(false);
    expect(isAboutTheAddress("net::ERR_FAILED_ELSEWHERE")).toBe(false);
  });
});
