import { expect, test } from "vitest";
import { parseDispatcherUrl } from "../../src/node/dispatcher_url.ts";

test.each([
  ["https://meadow.example", "wss://meadow.example/v1/node", "wss://meadow.example"],
  ["https://Meadow.Example:8443/", "wss://meadow.example:8443/v1/node", "wss://meadow.example:8443"],
  ["wss://meadow.example", "wss://meadow.example/v1/node", "wss://meadow.example"],
  ["wss://meadow.example:443/v1/node", "wss://meadow.example/v1/node", "wss://meadow.example"],
  ["wss://meadow.example/behind/v1/node", "wss://meadow.example/behind/v1/node", "wss://meadow.example"],
  ["https://bücher.example", "wss://xn--bcher-kva.example/v1/node", "wss://xn--bcher-kva.example"],
  ["https://[2606:2800:220:1::1]:444", "wss://[2606:2800:220:1::1]:444/v1/node", "wss://[2606:2800:220:1::1]:444"],
  ["http://localhost:8700", "ws://localhost:8700/v1/node", "ws://localhost:8700"],
  ["ws://127.0.0.1:80/v1/node", "ws://127.0.0.1/v1/node", "ws://127.0.0.1"],
  ["http://127.1:8700", "ws://127.0.0.1:8700/v1/node", "ws://127.0.0.1:8700"],
  ["ws://[::1]:8700", "ws://[::1]:8700/v1/node", "ws://[::1]:8700"],
])("%s is dialled at %s", (given, url, audience) => {
  expect(parseDispatcherUrl(given)).toEqual({ url, audience });
});

test.each([
  ["", "https://HOST"],
  ["meadow.example", "https://HOST"],
  ["ftp://meadow.example", "https://HOST"],
  ["https://", "https://HOST"],
  ["https://meadow.example.", "https://HOST"],
  ["javascript:alert(1)", "https://HOST"],
  ["https://user@meadow.example", "without user name"],
  ["https://:secret@meadow.example", "without user name"],
  ["wss://meadow.example/v1/node?x=1", "without user name, query or fragment"],
  ["wss://meadow.example/v1/node#x", "without user name, query or fragment"],
  ["https://meadow.example/v1/node", "takes no path"],
  ["http://meadow.example", "this machine only"],
  ["ws://192.168.1.1", "this machine only"],
  ["ws://127.0.0.1.meadow.example", "this machine only"],
  ["ws://localhost.meadow.example", "this machine only"],
  ["ws://[::ffff:127.0.0.1]", "this machine only"],
])("%j is refused, saying what is expected", (given, expected) => {
  expect(() => parseDispatcherUrl(given)).toThrow(RangeError);
  expect(() => parseDispatcherUrl(given)).toThrow(expected);
});
