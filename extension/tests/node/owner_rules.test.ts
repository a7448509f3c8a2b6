import { afterEach, describe, expect, test, vi } from "vitest";
import {
  availableJobs,
  checkHost,
  checkMoment,
  checkPurpose,
  covers,
  formatHours,
  isPaused,
  type Moment,
  momentOf,
  normaliseDomain,
  parseHours,
  type Surroundings,
} from "../../src/node/owner_rules.ts";
import { INITIAL_RULES, type OwnerRules } from "../../src/node/owner_state.ts";
import { LIMITS } from "../../src/protocol/limits.ts";

const NOON: Moment = { now_ms: 1_000, minute: 12 * 60, day_start_ms: 0 };
const NOTHING = { jobs: 0, bytes: 0 };
const AT_HOME: Surroundings = { connection: "wifi", on_mains: true };

function rules(changes: Partial<OwnerRules>): OwnerRules {
  return { ...INITIAL_RULES, ...changes };
}

describe("hours", () => {
  test("pass midnight", () => {
    const night = parseHours("22:00-7");
    expect([21, 22, 0, 6, 7].map((hour) => covers(night, hour * 60))).toEqual([false, true, true, true, false]);
    expect(formatHours(night)).toBe("22:00-07:00");
  });

  test("with equal ends are the whole day", () => {
    expect([0, 720, 1_439].map((minute) => covers(parseHours("0-24"), minute))).toEqual([true, true, true]);
    expect([0, 539, 540, 1_439].every((minute) => covers(parseHours("9-9"), minute))).toBe(true);
  });

  test("are held against the owner's minute, any of them", () => {
    const allowed = rules({ hours: [parseHours("22:00-7"), parseHours("12:30-13")] });
    expect(checkMoment(allowed, NOON, NOTHING, AT_HOME)?.code).toBe("outside_schedule");
    expect(checkMoment(allowed, { ...NOON, minute: 12 * 60 + 45 }, NOTHING, AT_HOME)).toBeNull();
    expect(availableJobs(allowed, NOON, NOTHING, AT_HOME)).toEqual({ count: 0, reason: "outside_schedule" });
  });

  test.each(["", "7", "7-", "-7", "25-3", "7:60-8", "a-b", "-1-5", "7-8-9", "24:30-1", "٧-٨", "7:000-8"])(
    "%j is told what is expected",
    (text) => {
      expect(() => parseHours(text)).toThrow(RangeError);
      expect(() => parseHours(text)).toThrow("22:00-07:00");
    },
  );

  test("are written as they are read", () => {
    for (let start = 0; start < 1_440; start += 7) {
      const hours = { start, end: (start * 5) % 1_440 };
      expect(parseHours(formatHours(hours))).toEqual(hours);
    }
  });
});

describe("domains", () => {
  test.each([
    ["Example.COM", "example.com"],
    ["*.bücher.example", "xn--bcher-kva.example"],
    [".example.org.", "example.org"],
    ["  example.org ", "example.org"],
    ["93.184.216.34", "93.184.216.34"],
  ])("%j is written as in URLs, and blocked with its subdomains", (given, domain) => {
    expect(normaliseDomain(given)).toBe(domain);
    const blocking = rules({ blocked_domains: ["other.example", domain] });
    expect(checkHost(blocking, domain)?.code).toBe("blocked_by_owner");
    expect(checkHost(blocking, `a.www.${domain}`)?.code).toBe("blocked_by_owner");
    expect(checkHost(blocking, `not${domain}`)).toBeNull();
    expect(checkHost(blocking, `${domain}.example`)).toBeNull();
  });

  test.each(["", " ", "*.", "http://example.com", "example.com/x", "a b", "a\tb", "example.com:80", "u@example.com"])(
    "%j is told what is expected",
    (given) => {
      expect(() => normaliseDomain(given)).toThrow(RangeError);
      expect(() => normaliseDomain(given)).toThrow("example.org");
    },
  );
});

test("only allowed purposes pass", () => {
  const archive = rules({ purposes: ["archive"] });
  expect(checkPurpose(archive, "archive")).toBeNull();
  expect(checkPurpose(archive, "rag")?.code).toBe("purpose_not_allowed");
});

describe("a pause", () => {
  test("without end holds", () => {
    const off = rules({ pause: { until_ms: null } });
    expect(isPaused(off, Number.MAX_SAFE_INTEGER)).toBe(true);
    expect(availableJobs(off, NOON, NOTHING, AT_HOME)).toEqual({ count: 0, reason: "paused" });
  });

  test("is over when its end has come", () => {
    const hour = rules({ pause: { until_ms: 1_001 } });
    expect(checkMoment(hour, NOON, NOTHING, AT_HOME)?.code).toBe("paused");
    expect(checkMoment(hour, { ...NOON, now_ms: 1_001 }, NOTHING, AT_HOME)).toBeNull();
    expect(isPaused(rules({ pause: null }), 0)).toBe(false);
  });
});

describe("caps", () => {
  test("of zero allow nothing", () => {
    for (const none of [rules({ daily_jobs: 0 }), rules({ daily_bytes: 0 })]) {
      expect(checkMoment(none, NOON, NOTHING, AT_HOME)?.code).toBe("cap_reached");
      expect(availableJobs(none, NOON, NOTHING, AT_HOME)).toEqual({ count: 0, reason: "cap_reached" });
    }
  });

  test("hold from the job or byte that reaches them", () => {
    const capped = rules({ daily_jobs: 3, daily_bytes: 100 });
    expect(checkMoment(capped, NOON, { jobs: 2, bytes: 99 }, AT_HOME)).toBeNull();
    expect(checkMoment(capped, NOON, { jobs: 3, bytes: 0 }, AT_HOME)?.code).toBe("cap_reached");
    expect(checkMoment(capped, NOON, { jobs: 0, bytes: 100 }, AT_HOME)?.code).toBe("cap_reached");
  });

  test("that are not set never hold", () => {
    const free = rules({ daily_jobs: null, daily_bytes: null });
    expect(checkMoment(free, NOON, { jobs: 1e9, bytes: 1e15 }, AT_HOME)).toBeNull();
  });
});

describe("surroundings", () => {
  const careful = rules({ only_on_wifi: true, only_on_mains: true });

  test("that are not as the owner wants leave no place for a job, with the reason", () => {
    const mobile: Surroundings = { connection: "other", on_mains: true };
    const battery: Surroundings = { connection: "wifi", on_mains: false };
    expect(availableJobs(careful, NOON, NOTHING, mobile)).toEqual({ count: 0, reason: "not_wifi" });
    expect(availableJobs(careful, NOON, NOTHING, battery)).toEqual({ count: 0, reason: "not_mains" });
    expect(checkMoment(careful, NOON, NOTHING, mobile)).toMatchObject({ code: "paused" });
    expect(checkMoment(careful, NOON, NOTHING, battery)).toMatchObject({ code: "paused" });
  });

  test("that the browser does not tell never hold a job back", () => {
    const untold: Surroundings = { connection: "unknown", on_mains: null };
    expect(availableJobs(careful, NOON, NOTHING, untold)).toEqual({ count: 4, reason: "" });
  });

  test("do not matter to an owner who did not ask", () => {
    const anywhere: Surroundings = { connection: "other", on_mains: false };
    expect(availableJobs(INITIAL_RULES, NOON, NOTHING, anywhere)).toEqual({ count: 4, reason: "" });
  });

  test("give way to the owner's own word as the reason", () => {
    const off = { ...careful, pause: { until_ms: null } };
    expect(availableJobs(off, NOON, NOTHING, { connection: "other", on_mains: false }).reason).toBe("paused");
  });
});

test("no more jobs are held than the protocol admits", () => {
  expect(availableJobs(rules({ max_concurrent_jobs: 1_000 }), NOON, NOTHING, AT_HOME)).toEqual({
    count: LIMITS.NODE_CONCURRENT_JOBS,
    reason: "",
  });
});

describe("a moment", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test.each([
    ["UTC", "2026-11-22T13:45:10.500Z", 13 * 60 + 45, "2026-11-22T00:00:00Z"],
    ["Asia/Kathmandu", "2026-11-21T19:00:00Z", 45, "2026-11-21T18:15:00Z"],
    ["Asia/Jakarta", "2026-11-21T16:59:59.999Z", 23 * 60 + 59, "2026-11-20T17:00:00Z"],
    ["America/St_Johns", "2026-11-22T03:29:00Z", 23 * 60 + 59, "2026-11-21T03:30:00Z"],
    // Clocks were put forward at midnight: the day began at 01:00.
    ["America/Santiago", "2026-09-06T12:00:00Z", 9 * 60, "2026-09-06T04:00:00Z"],
    // Clocks were put back to midnight: the day began at the first of the two.
    ["America/Havana", "2026-11-01T12:00:00Z", 7 * 60, "2026-11-01T04:00:00Z"],
  ])("in %s at %s has the owner's minute and midnight", (zone, now, minute, midnight) => {
    vi.stubEnv("TZ", zone);
    const date = new Date(now);
    expect(momentOf(date)).toEqual({ now_ms: date.getTime(), minute, day_start_ms: Date.parse(midnight) });
  });
});
