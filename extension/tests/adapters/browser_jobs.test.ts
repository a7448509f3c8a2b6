import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Link } from "../../src/adapters/answer_delivery.ts";
import { BrowserJobs } from "../../src/adapters/browser_jobs.ts";
import { IndexedDbStore } from "../../src/adapters/indexeddb_store.ts";
import type { FetchedPage, Fetcher, NotFetched } from "../../src/node/fetching.ts";
import { INITIAL_RULES, type OwnerRules } from "../../src/node/owner_state.ts";
import type { FromNode } from "../../src/protocol/messages.ts";
import { payloadOf, split } from "../../src/protocol/statements.ts";
import type { Ack, Job } from "../../src/protocol/types.ts";
import { freshParties, type Parties, signedJob, WALLET } from "../node/signed_jobs.ts";
import { jobId } from "./log_entries.ts";

const EVENING = new Date(2026, 10, 22, 23, 59, 30).getTime();
const BODY = new TextEncoder().encode("a page");
const PAGE: FetchedPage = {
  final_url: "https://example.org/articles?id=7",
  hops: [],
  status: 200,
  headers: [],
  content_encoding: "identity",
  payload: BODY,
  body_hash: "00".repeat(32),
  body_bytes: BODY.length,
};

/** A session that keeps what is sent in it: the messages, and the job ids of results. */
class Heard implements Link {
  readonly messages: FromNode[] = [];
  readonly results: string[] = [];

  send(message: FromNode): void {
    this.messages.push(message);
  }

  async sendResult(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    this.results.push(payloadOf(split(frame).statement, "record").job_id);
  }
}

/** Fetches what the test says, when it says so. */
class PlayedFetch implements Fetcher {
  private readonly waiting: ((page: FetchedPage | NotFetched | Error) => void)[] = [];

  fetch(): Promise<FetchedPage | NotFetched> {
    return new Promise((resolve, reject) => {
      this.waiting.push((page) => (page instanceof Error ? reject(page) : resolve(page)));
    });
  }

  /** End the oldest fetch. */
  end(page: FetchedPage | NotFetched | Error = PAGE): void {
    this.waiting.shift()?.(page);
  }
}

let parties: Parties;
let store: IndexedDbStore;
let fetcher: PlayedFetch;
let rules: OwnerRules;
let jobs: BrowserJobs;
let link: Heard;
const complaints = vi.fn();

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: EVENING });
  vi.stubGlobal("reportError", complaints);
  await IndexedDbStore.erase();
  store = await IndexedDbStore.open();
  const fresh = await freshParties();
  const certificate = { ...fresh.certificate, not_before_ms: 0, not_after_ms: EVENING + 86_400_000 };
  parties = { ...fresh, certificate };
  rules = INITIAL_RULES;
  await begin();
});

afterEach(() => {
  expect(complaints.mock.calls).toEqual([]);
  complaints.mockClear();
  store.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A worker begins. */
async function begin(): Promise<void> {
  fetcher = new PlayedFetch();
  jobs = new BrowserJobs({
    store,
    signer: parties.node,
    fetcher,
    wallet: () => WALLET,
    rules: () => rules,
    surroundings: () => ({ connection: "unknown", on_mains: null }),
    changed: () => undefined,
  });
  await jobs.recover();
  link = new Heard();
  await jobs.sessionOpened(link);
}

async function give(number: number, changes: Partial<Job> = {}): Promise<void> {
  const now_ms = Date.now();
  const times = { issued_ms: now_ms, expires_ms: now_ms + 60_000 };
  const statement = await signedJob(parties, { job_id: jobId(number), ...times, ...changes });
  await jobs.onJob(statement, parties.certificate);
}

function ackOf(number: number): Ack {
  return { type: "ack", job_id: jobId(number), lease: 7, outcome: "stored", reason: "", reward: 1, log_index: 1 };
}

async function nextSession(): Promise<Heard> {
  jobs.sessionEnded(link);
  link = new Heard();
  await jobs.sessionOpened(link);
  return link;
}

async function fetched(...numbers: number[]): Promise<void> {
  for (const number of numbers) {
    await give(number);
    fetcher.end();
    await jobs.idle(1_000, 0);
  }
}

describe("the owner's day", () => {
  test("ends at midnight by itself, though no job comes while its limit is reached", async () => {
    rules = { ...INITIAL_RULES, daily_jobs: 1 };
    await fetched(1);
    expect(jobs.availability()).toEqual({ count: 0, reason: "cap_reached" });
    vi.setSystemTime(EVENING + 31_000);
    expect(jobs.availability()).toEqual({ count: 4, reason: "" });
    await fetched(2);
    expect(link.results).toEqual([jobId(1), jobId(2)]);
    expect(jobs.availability().reason).toBe("cap_reached");
  });

  test("goes on over the worker's death", async () => {
    rules = { ...INITIAL_RULES, daily_jobs: 1 };
    await fetched(1);
    await begin();
    expect(jobs.availability().reason).toBe("cap_reached");
  });
});

describe("a store that cannot be written", () => {
  test("has the job refused, and none taken for a minute", async () => {
    const broken = vi.spyOn(store, "begin").mockRejectedValue(new DOMException("no space", "QuotaExceededError"));
    await give(1);
    expect(link.messages).toMatchObject([{ type: "refuse", job_id: jobId(1), reason: "busy" }]);
    expect(jobs.availability()).toEqual({ count: 0, reason: "storage" });
    broken.mockRestore();
    vi.setSystemTime(EVENING + 59_999);
    expect(jobs.availability().reason).toBe("storage");
    vi.setSystemTime(EVENING + 60_000);
    expect(jobs.availability().count).toBe(4);
    await fetched(1);
    expect(link.results).toEqual([jobId(1)]);
  });

  test("keeps an acknowledged answer, and the session goes on", async () => {
    await fetched(1);
    const broken = vi.spyOn(store, "acknowledged").mockRejectedValue(new DOMException("no disk", "UnknownError"));
    await jobs.onAck(ackOf(1));
    broken.mockRestore();
    expect((await nextSession()).results).toEqual([jobId(1)]);
    await jobs.onAck(ackOf(1));
    expect((await nextSession()).results).toEqual([]);
    expect(jobs.availability().count).toBe(4);
  });
});

describe("answers", () => {
  test("that come while the old ones are sent again are sent in their turn, and once", async () => {
    await fetched(1, 2);
    await give(3);
    jobs.sessionEnded(link);
    link = new Heard();
    const opening = jobs.sessionOpened(link);
    fetcher.end();
    await Promise.all([opening, jobs.idle(1_000, 0)]);
    expect(link.results).toEqual([jobId(1), jobId(2), jobId(3)]);
  });

  test("found without a session are sent in the next one", async () => {
    await give(1);
    jobs.sessionEnded(link);
    fetcher.end();
    await jobs.idle(1_000, 0);
    expect(link.results).toEqual([]);
    expect((await nextSession()).results).toEqual([jobId(1)]);
  });

  test("of a session that ended meanwhile are not sent into the next one twice", async () => {
    await fetched(1, 2, 3);
    jobs.sessionEnded(link);
    const first = new Heard();
    const opening = jobs.sessionOpened(first);
    jobs.sessionEnded(first);
    const second = new Heard();
    await Promise.all([opening, jobs.sessionOpened(second)]);
    expect(second.results).toEqual([jobId(1), jobId(2), jobId(3)]);
  });
});

describe("a session that ends upon a result", () => {
  test("by a fatal code, with one result open: it is given up and written down", async () => {
    await fetched(1);
    await jobs.sessionRefused("not_canonical", "the dispatcher ended the session, not_canonical");
    expect((await nextSession()).results).toEqual([]);
    expect(await store.entries({ limit: 1 })).toMatchObject([
      { outcome: "rejected", detail: "the dispatcher ended the session, not_canonical" },
    ]);
  });

  test("with several: the next session sends them one by one, and finds which", async () => {
    await fetched(1, 2, 3);
    await jobs.sessionRefused("bad_signature", "bad");
    jobs.sessionEnded(link);
    link = new Heard();
    const opening = jobs.sessionOpened(link);
    await vi.waitFor(() => expect(link.results).toEqual([jobId(1)]));
    await jobs.onAck(ackOf(1));
    await vi.waitFor(() => expect(link.results).toEqual([jobId(1), jobId(2)]));
    await jobs.sessionRefused("bad_signature", "bad");
    jobs.sessionEnded(link);
    await opening;
    expect(await store.outcome({ job_id: jobId(2), lease: 7 })).toBe("rejected");
    const last = new Heard();
    const reopening = jobs.sessionOpened(last);
    await vi.waitFor(() => expect(last.results).toEqual([jobId(3)]));
    await jobs.onAck(ackOf(3));
    await reopening;
    expect(await store.waiting()).toEqual([]);
  });

  test.each(["session_violation", "expired", "protocol_error", "unheard_of"])("by %s costs none", async (code) => {
    await fetched(1);
    await jobs.sessionRefused(code, "over");
    expect((await nextSession()).results).toEqual([jobId(1)]);
  });

  test("that was acknowledged costs none", async () => {
    await fetched(1);
    await jobs.onAck(ackOf(1));
    await jobs.sessionRefused("bad_signature", "of something else");
    expect(await store.outcome({ job_id: jobId(1), lease: 7 })).toBe("stored");
  });
});

test("a fetch that meets an error of its own is reported and handed back", async () => {
  await give(1);
  fetcher.end(new TypeError("a defect"));
  await jobs.idle(1_000, 0);
  expect(complaints.mock.calls).toEqual([[new TypeError("a defect")]]);
  complaints.mockClear();
  expect(link.messages.at(-1)).toMatchObject({ type: "refuse", job_id: jobId(1), reason: "busy" });
  expect(jobs.count).toBe(0);
  expect(jobs.availability().count).toBe(4);
});

test("while it stops, it says the owner's reason where there is one", async () => {
  jobs.stopTaking();
  expect(jobs.availability()).toEqual({ count: 0, reason: "stopping" });
  rules = { ...INITIAL_RULES, pause: { until_ms: null } };
  expect(jobs.availability()).toEqual({ count: 0, reason: "paused" });
  await give(1);
  expect(link.messages).toMatchObject([{ type: "refuse", reason: "stopping" }]);
});
