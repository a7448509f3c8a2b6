/** Addresses: own networks, and the reader of IPv6 against the runtime's. */
import { describe, expect, test } from "vitest";
import { checkAddress, checkAnswer, isAddress } from "../../src/protocol/addresses.ts";

describe("own networks", () => {
  test.each([
    ["93.184.216.34", "93.184.216.34/32", true],
    ["93.184.216.34", "93.184.216.34", true],
    ["93.184.216.34", "93.184.216.35/31", true],
    ["93.184.216.34", "93.184.216.35/32", false],
    ["93.184.216.34", "93.184.217.1/23", true],
    ["93.184.216.34", "93.184.218.1/23", false],
    ["93.184.216.34", "0.0.0.0/0", true],
    ["93.184.216.34", "::/0", false],
    ["2606:2800:220:1::1", "2606:2800:220::/48", true],
    ["2606:2800:220:1::1", "2606:2800:220:ffff:ffff::1/48", true],
    ["2606:2800:220:1::1", "2606:2800:221::/48", false],
    ["2606:2800:220:1::1", "2606:2800:220:1::1", true],
    ["2606:2800:220:1::1", "2606:2800:220:1::2", false],
    ["2606:2800:220:1::1", "::/0", true],
    ["2606:2800:220:1::1", "0.0.0.0/0", false],
  ])("%s and %s", (address, network, is_own) => {
    expect(checkAddress(address, ["198.51.100.0/24", network])?.reason ?? "ok").toBe(is_own ? "own_network" : "ok");
    expect(checkAnswer(["1.1.1.1", address], ["198.51.100.0/24"])).toBeNull();
  });

  test("a private address is that first", () => {
    expect(checkAddress("192.168.1.1", ["192.168.1.0/24"])?.reason).toBe("private_address");
  });

  test.each(["", "/", "here", "1.1.1.1/", "1.1.1.1/33", "1.1.1.1/-1", "1.1.1.1/08", "1.1.1.1/ 8", "1.1.1.1/8/8"])(
    "%j is no network",
    (network) => {
      expect(() => checkAddress("1.1.1.1", [network])).toThrow(RangeError);
    },
  );

  test.each(["::/129", "::1%1/64", "[::1]/64", "fe80::/1e1", "::/"])("%j is no network", (network) => {
    expect(() => checkAddress("2606::1", [network])).toThrow(RangeError);
  });
});

describe("an answer", () => {
  test("is refused as a whole for one address", () => {
    expect(checkAnswer([])).toBeNull();
    expect(checkAnswer(["1.1.1.1", "2606:4700::1"])).toBeNull();
    expect(checkAnswer(["1.1.1.1", "127.0.0.1"])?.reason).toBe("private_address");
    expect(checkAnswer(["1.1.1.1", "2606:4700::1"], ["2606:4700::/32"])?.reason).toBe("own_network");
    expect(checkAnswer(["1.1.1.1", "fe80::1%eth0"])?.reason).toBe("zone_id");
    expect(checkAnswer(["1.1.1.1", "name"])?.reason).toBe("malformed");
  });

  test("no refusal says the address", () => {
    for (const address of ["127.0.0.1", "10.1.2.3", "fe80::1%eth0", "1.1.1.1", "10.0.0"]) {
      expect(checkAddress(address, ["1.1.1.1"])?.detail).not.toContain(address);
    }
  });
});

describe("the reader of IPv4", () => {
  test.each(["0.0.0.0", "255.255.255.255", "1.2.3.4", "10.20.30.40"])("%s is an address", (text) => {
    expect(isAddress(text)).toBe(true);
  });

  test.each([
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4.",
    ".1.2.3.4",
    "1..2.3",
    "256.1.1.1",
    "1000.1.1.1",
    "00.0.0.0",
    "1.2.3.04",
    "1.2.3.0x4",
    "1.2.3.4\n",
    " 1.2.3.4",
    "+1.2.3.4",
    "1e1.2.3.4",
    "١.2.3.4",
  ])("%j is none", (text) => {
    expect(isAddress(text)).toBe(false);
    expect(checkAddress(text)?.reason).toBe("malformed");
  });
});

/** Texts of colons, groups and dotted quads from a fixed sequence, most of them nearly addresses. */
function* nearlyIpv6(count: number): Generator<string> {
  const parts = [":", ":", ":", "::", "0", "1", "ab", "FFFF", "2606", "00000", "g", "1.2.3.4", "1.2.3", "."];
  let seed = 7;
  const next = (bound: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % bound;
  };
  for (let made = 0; made < count; made += 1) {
    if (next(2) === 0) {
      yield Array.from({ length: next(16) + 1 }, () => parts[next(parts.length)]).join("");
      continue;
    }
    const groups = Array.from({ length: next(10) + 1 }, () => next(0x10000).toString(16));
    if (next(2) === 0) groups[next(groups.length)] = "";
    if (next(4) === 0) groups.push("8.8.4.4");
    yield groups.join(":");
  }
}

describe("the reader of IPv6", () => {
  test("takes what the runtime's URL takes, and means the same address", () => {
    let taken = 0;
    for (const text of nearlyIpv6(20_000)) {
      if (!text.includes(":")) continue;
      const known = URL.canParse(`http://[${text}]/`) ? new URL(`http://[${text}]/`).hostname.slice(1, -1) : null;
      expect([text, isAddress(text)]).toEqual([text, known !== null]);
      if (known === null) continue;
      taken += 1;
      expect([text, checkAddress(text)?.reason]).toEqual([text, checkAddress(known)?.reason]);
      const own = checkAddress("2606::1", [text]);
      expect(own === null).toBe(known !== "2606::1");
    }
    expect(taken).toBeGreaterThan(1_000);
  });

  test.each([
    ["1:2:3:4:5:6:7:8", true],
    ["1:2:3:4:5:6:7::", true],
    ["::2:3:4:5:6:7:8", true],
    ["1:2:3:4:5:6:7:8::", false],
    ["::1:2:3:4:5:6:7:8", false],
    ["1:2:3:4::5:6:7:8", false],
    ["1:2:3:4:5:6:1.2.3.4", true],
    ["1:2:3:4:5:6:7:1.2.3.4", false],
    ["1.2.3.4::", false],
    ["::1.2.3.4:1", false],
    ["::", true],
    [":", false],
    [":::", false],
    ["1::2::3", false],
    [":1", false],
    ["1:", false],
    ["::00001", false],
    ["::1 ", false],
    ["::-1", false],
    ["::0x1", false],
    ["::１", false],
  ])("%s: %s", (text, is_address) => {
    expect(isAddress(text)).toBe(is_address);
  });
});
