import { expect, test } from "vitest";
import { isHidden } from "../../src/adapters/hidden_hosts.ts";

test.each(["addons.mozilla.org", "support.mozilla.org", "chromewebstore.google.com", "a.chrome.google.com"])(
  "%s is hidden from extensions",
  (host) => expect(isHidden(host)).toBe(true),
);

test.each([
  "mozilla.org",
  "developer.mozilla.org",
  "google.com",
  "xaddons.mozilla.org",
  "addons.mozilla.org.example.com",
])("%s is not", (host) => expect(isHidden(host)).toBe(false));
