/**
 * The jobs in hand, and the answers that wait for their acknowledgement.
 *
 * Outlives sessions, not the worker: whatever has to survive it is in the store before anything else happens. A job
 * whose worker died is handed back by the next one (`recover`).
 */
import { type FetchedPage, type Fetcher, isPage, type NotFetched } from "../node/fetching.ts";
import { type AllowedJob, checkJob, claimedLease, type RefusedJob } from "../node/job_check.ts";
import type { LogEntry, UsageToday } from "../node/journal.ts";
import { isFull, type OutboxItem } from "../node/outbox.ts";
import { availableJobs, checkHost, type Moment, momentOf, type Surroundings } from "../node/owner_rules.ts";
import type { OwnerRules } from "../node/owner_state.ts";
import { buildRecord } from "../node/record_builder.ts";
import type { Signer } from "../protocol/keys.ts";
import type { FromNode } from "../protocol/messages.ts";
import { type Statement, toBytes } from "../protocol/statements.ts";
import type { Ack, Cancel, Certificate, Failure, Hop, HopVerdict, Job, Refuse } from "../protocol/types.ts";
import type { AllowedUrl } from "../protocol/urls.ts";
import type { IndexedDbStore } from "./indexeddb_store.ts";

const DETAIL_CHARACTERS = 300;
/** For how long no job is taken after a sign of a proxy; then one is tried again. */
const PROXY_REST_MS = 10 * 60_000;
/** After so many acknowledged answers the log is looked over for entries above its bound. */
const PRUNE_EVERY = 1_000;

/** An open session, to send answers in. Sending into a broken one has no effect: the session's end shows elsewhere. */
export interface Link {
  send(message: FromNode): void;
  sendResult(frame: Uint8Array<ArrayBuffer>): Promise<void>;
}

interface InHand {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

interface OpenHop {
  readonly question: Hop;
  readonly settle: (verdict: HopVerdict) => void;
}

/** What `BrowserJobs` works with. `rules` and `surroundings` are read at every use; `changed` is called after changes. */
export interface JobsOptions {
  readonly store: IndexedDbStore;
  readonly fetcher: Fetcher;
  readonly signer: Signer;
  readonly wallet: () => string;
  readonly rules: () => OwnerRules;
  readonly surroundings: () => Surroundings;
  readonly changed: () => void;
}

/** How many jobs may be held now, and the code of why where it is none. */
export interface Availability {
  readonly count: number;
  readonly reason: string;
}

class Cancelled extends Error {}

/** The work of a node. Owned by one worker. */
export class BrowserJobs {
  private readonly inHand = new Map<string, InHand>();
  private readonly hops = new Map<string, OpenHop>();
  private link: Link | null = null;
  private isStopping = false;
  private waitingBytes = 0;
  private proxySeenMs = Number.NEGATIVE_INFINITY;
  private storeFailed = false;
  private day: { readonly start_ms: number; usage: UsageToday } = { start_ms: -1, usage: { jobs: 0, bytes: 0 } };
  acknowledged = 0;

  constructor(private readonly options: JobsOptions) {}

  /** Hand back what an earlier worker had in hand when it died, and take note of what waits. */
  async recover(): Promise<void> {
    await this.options.store.interruptUnfinished("the browser stopped the extension's worker");
    this.waitingBytes = await this.options.store.waitingBytes();
    await this.options.store.prune();
    await this.today();
  }

  get count(): number {
    return this.inHand.size;
  }

  availability(): Availability {
    if (this.isStopping) return { count: 0, reason: "stopping" };
    if (this.storeFailed) return { count: 0, reason: "storage" };
    if (isFull(this.waitingBytes)) return { count: 0, reason: "results_waiting" };
    if (Date.now() < this.proxySeenMs + PROXY_REST_MS) return { count: 0, reason: "proxy" };
    return availableJobs(this.options.rules(), momentOf(new Date()), this.day.usage, this.options.surroundings());
  }

  /** Check a job and begin it, or refuse it. ProtocolError where the bytes are no job. */
  async onJob(statement: Statement, certificate: Certificate): Promise<void> {
    const moment = await this.today();
    const checked = await checkJob(statement, {
      certificate,
      node_key: this.options.signer.public_key,
      standing: {
        rules: this.options.rules(),
        moment,
        usage: this.day.usage,
        surroundings: this.options.surroundings(),
        jobs_in_hand: this.inHand.size,
        is_stopping: this.isStopping,
        results_are_full: isFull(this.waitingBytes),
      },
    });
    try {
      if (checked.job !== null && (await this.wasSeen(checked.job))) return;
      if ("answer" in checked) await this.refuse(checked, moment);
      else await this.begin(checked, moment);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.noteStoreFailure();
      const lease = claimedLease(statement);
      this.link?.send({ type: "refuse", ...lease, reason: "busy", detail: "this browser cannot write its log" });
    }
  }

  /** Forget what was acknowledged. A repeat changes nothing. */
  async onAck(ack: Ack): Promise<void> {
    const entry = await this.options.store.acknowledged(ack);
    if (entry === null) return;
    this.waitingBytes = await this.options.store.waitingBytes();
    this.acknowledged += 1;
    if (this.acknowledged % PRUNE_EVERY === 0) await this.options.store.prune();
    this.storeFailed = false;
    this.options.changed();
  }

  /** Hand a verdict to the fetch that asked; one that nobody asked for is ignored. */
  onVerdict(verdict: HopVerdict): void {
    const hop = this.hops.get(keyOf(verdict));
    if (hop !== undefined && hop.question.url === verdict.url) hop.settle(verdict);
  }

  /** Stop a fetch, or drop its answer. No answer is due. */
  async onCancel(cancel: Cancel): Promise<void> {
    const inHand = this.inHand.get(keyOf(cancel));
    if (inHand !== undefined) {
      inHand.abort.abort(new Cancelled());
      await inHand.ended;
    }
    await this.options.store.cancelled(cancel);
    this.waitingBytes = await this.options.store.waitingBytes();
  }

  /** Send answers in this session from now on, and what waits already: oldest first, byte for byte. */
  async sessionOpened(link: Link): Promise<void> {
    this.link = link;
    const hops = [...this.hops.values()].map((hop) => hop.question);
    for (const item of await this.options.store.waiting()) {
      if (this.link !== link) return;
      await this.sendAgain(item, link);
    }
    for (const question of hops) if (this.hops.has(keyOf(question))) link.send(question);
  }

  /** Take note that a session is over. */
  sessionEnded(link: Link): void {
    if (this.link === link) this.link = null;
  }

  /** Refuse every further job. */
  stopTaking(): void {
    this.isStopping = true;
  }

  /** End every job in hand at once; each is handed back with `reason`, now or in the next session. */
  async giveUp(reason: Refuse["reason"], detail: string): Promise<void> {
    const why: NotFetched = { kind: "refusal", reason, detail };
    const ends = [...this.inHand.values()].map((inHand) => {
      inHand.abort.abort(why);
      return inHand.ended;
    });
    await Promise.all(ends);
  }

  /** Wait until no job is in hand, then until every answer is acknowledged, each for a bounded time. */
  async idle(finish_ms: number, acknowledge_ms: number): Promise<void> {
    await Promise.race([Promise.all([...this.inHand.values()].map((inHand) => inHand.ended)), after(finish_ms)]);
    const deadline = Date.now() + acknowledge_ms;
    while (this.link !== null && Date.now() < deadline && (await this.options.store.waiting()).length > 0) {
      await after(100);
    }
  }

  private async today(): Promise<Moment> {
    const moment = momentOf(new Date());
    if (moment.day_start_ms !== this.day.start_ms) {
      this.day = { start_ms: moment.day_start_ms, usage: await this.options.store.usageSince(moment.day_start_ms) };
    }
    return moment;
  }

  private countUsage(jobs: number, bytes: number): void {
    this.day.usage = { jobs: this.day.usage.jobs + jobs, bytes: this.day.usage.bytes + bytes };
  }

  /** Answer a lease that was delivered twice as it was answered, or will be, the first time. */
  private async wasSeen(job: Job): Promise<boolean> {
    const { job_id, lease } = job;
    if (this.inHand.has(keyOf(job))) {
      this.link?.send({ type: "accept", job_id, lease });
      return true;
    }
    const waiting = await this.options.store.waitingAnswer(job);
    if (waiting !== null) {
      if (this.link !== null) await this.sendAgain(waiting, this.link);
      return true;
    }
    if ((await this.options.store.outcome(job)) !== null) {
      const detail = "this lease was answered already";
      this.link?.send({ type: "refuse", job_id, lease, reason: "expired", detail });
      return true;
    }
    return false;
  }

  private async refuse(refused: RefusedJob, moment: Moment): Promise<void> {
    if (refused.job === null) {
      this.link?.send(refused.answer);
      return;
    }
    const isKept = await this.options.store.refused(newEntry(refused.job, moment.now_ms), refused.answer);
    if (isKept) this.link?.send(refused.answer);
  }

  private async begin(allowed: AllowedJob, moment: Moment): Promise<void> {
    const { job } = allowed;
    const entry = newEntry(job, moment.now_ms);
    await this.options.store.begin(entry);
    this.countUsage(1, 0);
    const abort = new AbortController();
    const key = keyOf(job);
    this.link?.send({ type: "accept", job_id: job.job_id, lease: job.lease });
    const ended = this.work(allowed, entry, abort.signal).finally(() => {
      this.hops.delete(key);
      this.inHand.delete(key);
      this.options.changed();
    });
    this.inHand.set(key, { abort, ended });
    this.options.changed();
  }

  private async work(allowed: AllowedJob, entry: LogEntry, signal: AbortSignal): Promise<void> {
    let received_bytes = 0;
    const daily_bytes = this.options.rules().daily_bytes;
    const countBytes = (count: number): boolean => {
      received_bytes += count;
      this.countUsage(0, count);
      return daily_bytes === null || this.day.usage.bytes <= daily_bytes;
    };
    const askHop = (url: AllowedUrl) => this.askHop(allowed.job, url, signal);
    const started_ms = Date.now();
    try {
      const page = await this.fetched(allowed, { askHop, countBytes, signal });
      if (page === null) await this.drop(allowed.job, received_bytes);
      else if (isPage(page)) await this.sendPage(allowed, { ...entry, received_bytes }, page, started_ms);
      else await this.sendNote(allowed.job, { ...entry, received_bytes }, page);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.noteStoreFailure();
      const { job_id, lease } = allowed.job;
      this.link?.send({ type: "refuse", job_id, lease, reason: "busy", detail: "this browser cannot store the page" });
    }
  }

  /** The page, or why there is none; null where the dispatcher cancelled the job. */
  private async fetched(
    allowed: AllowedJob,
    hooks: Parameters<Fetcher["fetch"]>[1],
  ): Promise<FetchedPage | NotFetched | null> {
    try {
      return await this.options.fetcher.fetch(allowed.order, hooks);
    } catch (error) {
      if (!hooks.signal.aborted) throw error;
      const why: unknown = hooks.signal.reason;
      return why instanceof Cancelled ? null : (why as NotFetched);
    }
  }

  private async sendPage(allowed: AllowedJob, entry: LogEntry, page: FetchedPage, started_ms: number): Promise<void> {
    const finished_ms = Date.now();
    const { signer, wallet, store } = this.options;
    const record = await buildRecord(allowed, page, { signer, wallet: wallet(), started_ms, finished_ms });
    const head = toBytes(record);
    const frame = new Uint8Array(head.length + page.payload.length);
    frame.set(head);
    frame.set(page.payload, head.length);
    const { final_url, hops, status } = page;
    const isKept = await store.concludeResult(
      { ...entry, finished_ms, final_url, hops, status, sent_bytes: frame.length },
      frame,
    );
    if (!isKept) return;
    this.waitingBytes += frame.length;
    this.countUsage(0, frame.length);
    await this.link?.sendResult(frame);
  }

  private async sendNote(job: Job, entry: LogEntry, why: NotFetched): Promise<void> {
    if (why.sign === "proxy") this.proxySeenMs = Date.now();
    const answer = answerFor(job, why);
    const isKept = await this.options.store.concludeNote({ ...entry, finished_ms: Date.now() }, answer);
    if (isKept) this.link?.send(answer);
  }

  private async drop(job: Job, received_bytes: number): Promise<void> {
    await this.options.store.cancelled(job, { finished_ms: Date.now(), received_bytes, sent_bytes: 0 });
  }

  private async sendAgain(item: OutboxItem, link: Link): Promise<void> {
    if (item.kind === "note") {
      link.send(item.message);
      return;
    }
    const frame = await this.options.store.frame(item.place);
    if (frame !== null) await link.sendResult(frame);
  }

  private async askHop(job: Job, url: AllowedUrl, signal: AbortSignal): Promise<NotFetched | null> {
    const denial = checkHost(this.options.rules(), url.host);
    if (denial !== null) return { kind: "refusal", reason: denial.code, detail: denial.detail };
    const { job_id, lease } = job;
    const question: Hop = { type: "hop", job_id, lease, url: url.href };
    const verdict = await new Promise<HopVerdict>((settle, reject) => {
      this.hops.set(keyOf(job), { question, settle });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      this.link?.send(question);
    }).finally(() => this.hops.delete(keyOf(job)));
    if (verdict.allowed) return null;
    const detail = verdict.reason.slice(0, DETAIL_CHARACTERS) || "by the dispatcher";
    return { kind: "failure", reason: "hop_refused", detail };
  }

  private noteStoreFailure(): void {
    this.storeFailed = true;
    this.options.changed();
  }
}

function keyOf(of: { readonly job_id: string; readonly lease: number }): string {
  return `${of.job_id}/${of.lease}`;
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function newEntry(job: Job, now_ms: number): LogEntry {
  return {
    job_id: job.job_id,
    lease: job.lease,
    started_ms: now_ms,
    finished_ms: null,
    url: job.url,
    host: URL.canParse(job.url) ? new URL(job.url).hostname : "",
    final_url: null,
    hops: [],
    purpose: job.purpose,
    status: null,
    received_bytes: 0,
    sent_bytes: 0,
    outcome: "fetching",
    reason: "",
    detail: "",
    reward: 0,
    log_index: null,
  };
}

function answerFor(job: Job, why: NotFetched): Refuse | Failure {
  const { job_id, lease } = job;
  const { detail } = why;
  return why.kind === "refusal"
    ? { type: "refuse", job_id, lease, reason: why.reason as Refuse["reason"], detail }
    : { type: "failure", job_id, lease, reason: why.reason as Failure["reason"], detail };
}
