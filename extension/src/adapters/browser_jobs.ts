/**
 * The jobs in hand, and the answers that wait for their acknowledgement.
 *
 * Outlives sessions, not the worker: whatever has to survive it is in the store before anything else happens. A job
 * whose worker died is handed back by the next one (`recover`).
 */
import { type FetchedPage, type Fetcher, isPage, type NotFetched } from "../node/fetching.ts";
import { type AllowedJob, checkJob, claimedLease, type RefusedJob } from "../node/job_check.ts";
import type { LogEntry, UsageToday } from "../node/journal.ts";
import { availableJobs, checkHost, type Moment, momentOf, type Surroundings } from "../node/owner_rules.ts";
import type { OwnerRules } from "../node/owner_state.ts";
import { buildRecord } from "../node/record_builder.ts";
import type { Signer } from "../protocol/keys.ts";
import { type Statement, toBytes } from "../protocol/statements.ts";
import type { Ack, Cancel, Certificate, Failure, Hop, HopVerdict, Job, Refuse } from "../protocol/types.ts";
import type { AllowedUrl } from "../protocol/urls.ts";
import { AnswerDelivery, type Link, nameOf } from "./answer_delivery.ts";
import type { IndexedDbStore } from "./indexeddb_store.ts";

const DETAIL_CHARACTERS = 300;
/** For how long no job is taken after a sign of a proxy; then one is tried again. */
const PROXY_REST_MS = 10 * 60_000;
/** For how long no job is taken after the browser could not write; then one is tried again. */
const STORE_REST_MS = 60_000;
/** After so many acknowledged answers the log is looked over for entries above its bound. */
const PRUNE_EVERY = 1_000;

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
  private readonly delivery: AnswerDelivery;
  private readonly inHand = new Map<string, InHand>();
  private readonly hops = new Map<string, OpenHop>();
  private isStopping = false;
  private proxySeenMs = Number.NEGATIVE_INFINITY;
  private storeFailedMs = Number.NEGATIVE_INFINITY;
  private day: { readonly start_ms: number; usage: UsageToday } = { start_ms: -1, usage: { jobs: 0, bytes: 0 } };
  /** How many answers this worker saw acknowledged. */
  acknowledged = 0;

  constructor(private readonly options: JobsOptions) {
    this.delivery = new AnswerDelivery(options.store);
  }

  /** Hand back what an earlier worker had in hand when it died, and take note of what waits. DOMException as the store. */
  async recover(): Promise<void> {
    await this.options.store.interruptUnfinished("the browser stopped the extension's worker");
    await this.delivery.recount();
    await this.options.store.prune();
    await this.today();
  }

  /** How many jobs are in hand. */
  get count(): number {
    return this.inHand.size;
  }

  /** How many jobs may be held now. */
  availability(): Availability {
    const now = new Date();
    if (now.getTime() < this.storeFailedMs + STORE_REST_MS) return { count: 0, reason: "storage" };
    if (this.delivery.isFull) return { count: 0, reason: "results_waiting" };
    if (now.getTime() < this.proxySeenMs + PROXY_REST_MS) return { count: 0, reason: "proxy" };
    const { rules, surroundings } = this.options;
    const moment = momentOf(now);
    const allowed = availableJobs(rules(), moment, this.usageOn(moment), surroundings());
    return this.isStopping && allowed.count > 0 ? { count: 0, reason: "stopping" } : allowed;
  }

  /** Check a job and begin it, or refuse it. ProtocolError where the bytes are no job. */
  async onJob(statement: Statement, certificate: Certificate): Promise<void> {
    try {
      const moment = await this.today();
      const checked = await checkJob(statement, {
        certificate,
        node_key: this.options.signer.public_key,
        standing: {
          rules: this.options.rules(),
          moment,
          usage: this.usageOn(moment),
          surroundings: this.options.surroundings(),
          jobs_in_hand: this.inHand.size,
          is_stopping: this.isStopping,
          results_are_full: this.delivery.isFull,
        },
      });
      if (checked.job !== null && (await this.wasSeen(checked.job))) return;
      if ("answer" in checked) await this.refuse(checked, moment);
      else await this.begin(checked, moment);
    } catch (error) {
      this.noteStoreFailure(error);
      const lease = claimedLease(statement);
      this.delivery.say({ type: "refuse", ...lease, reason: "busy", detail: "this browser cannot write its log" });
    }
  }

  /** Forget what was acknowledged. A repeat changes nothing. */
  async onAck(ack: Ack): Promise<void> {
    try {
      if (!(await this.delivery.acknowledged(ack))) return;
      this.acknowledged += 1;
      if (this.acknowledged % PRUNE_EVERY === 0) await this.options.store.prune();
      this.storeFailedMs = Number.NEGATIVE_INFINITY;
      this.options.changed();
    } catch (error) {
      this.noteStoreFailure(error);
    }
  }

  /** Hand a verdict to the fetch that asked; one that nobody asked for is ignored. */
  onVerdict(verdict: HopVerdict): void {
    const hop = this.hops.get(nameOf(verdict));
    if (hop !== undefined && hop.question.url === verdict.url) hop.settle(verdict);
  }

  /** Stop a fetch, or drop its answer. No answer is due. */
  async onCancel(cancel: Cancel): Promise<void> {
    const inHand = this.inHand.get(nameOf(cancel));
    inHand?.abort.abort(new Cancelled());
    await inHand?.ended;
    try {
      await this.delivery.cancelled({ job_id: cancel.job_id, lease: cancel.lease });
    } catch (error) {
      this.noteStoreFailure(error);
    }
  }

  /** Send answers and questions in this session from now on: open questions again, and every answer that waits. */
  async sessionOpened(link: Link): Promise<void> {
    for (const { question } of this.hops.values()) link.send(question);
    try {
      await this.delivery.sessionOpened(link);
    } catch (error) {
      this.noteStoreFailure(error);
    }
  }

  /** Take note that a session is over. */
  sessionEnded(link: Link): void {
    this.delivery.sessionEnded(link);
  }

  /** Take note of the error by which the dispatcher ends the session; to be called before `sessionEnded`. */
  async sessionRefused(code: string, words: string): Promise<void> {
    try {
      await this.delivery.sessionRefused(code, words);
    } catch (error) {
      this.noteStoreFailure(error);
    }
  }

  /** Refuse every further job. */
  stopTaking(): void {
    this.isStopping = true;
  }

  /** End every job in hand at once; each is handed back with `reason`, now or in the next session. */
  async giveUp(reason: Refuse["reason"], detail: string): Promise<void> {
    const why: NotFetched = { kind: "refusal", reason, detail };
    for (const { abort } of this.inHand.values()) abort.abort(why);
    await this.ended();
  }

  /** Wait until no job is in hand, then until every answer is acknowledged, each for a bounded time. */
  async idle(finish_ms: number, acknowledge_ms: number): Promise<void> {
    await Promise.race([this.ended(), after(finish_ms)]);
    try {
      await this.delivery.settled(acknowledge_ms);
    } catch (error) {
      this.noteStoreFailure(error);
    }
  }

  private async ended(): Promise<void> {
    await Promise.all([...this.inHand.values()].map((inHand) => inHand.ended));
  }

  private async today(): Promise<Moment> {
    const moment = momentOf(new Date());
    if (moment.day_start_ms !== this.day.start_ms) {
      this.day = { start_ms: moment.day_start_ms, usage: await this.options.store.usageSince(moment.day_start_ms) };
    }
    return moment;
  }

  /** A day that no job came in yet has seen nothing: the limits of the day before are over at midnight, by themselves. */
  private usageOn({ day_start_ms }: Moment): UsageToday {
    return day_start_ms === this.day.start_ms ? this.day.usage : { jobs: 0, bytes: 0 };
  }

  private countUsage(jobs: number, bytes: number): void {
    this.day.usage = { jobs: this.day.usage.jobs + jobs, bytes: this.day.usage.bytes + bytes };
  }

  /** Answer a lease that was delivered twice as it was answered, or will be, the first time. */
  private async wasSeen(job: Job): Promise<boolean> {
    const { job_id, lease } = job;
    if (this.inHand.has(nameOf(job))) {
      this.delivery.say({ type: "accept", job_id, lease });
      return true;
    }
    const waiting = await this.options.store.waitingAnswer(job);
    if (waiting !== null) {
      await this.delivery.repeat(waiting);
      return true;
    }
    if ((await this.options.store.outcome(job)) !== null) {
      const detail = "this lease was answered already";
      this.delivery.say({ type: "refuse", job_id, lease, reason: "expired", detail });
      return true;
    }
    return false;
  }

  private async refuse(refused: RefusedJob, moment: Moment): Promise<void> {
    if (refused.job === null) {
      this.delivery.say(refused.answer);
      return;
    }
    const isKept = await this.options.store.refused(newEntry(refused.job, moment.now_ms), refused.answer);
    if (isKept) this.delivery.sendNote(refused.answer);
  }

  private async begin(allowed: AllowedJob, moment: Moment): Promise<void> {
    const { job } = allowed;
    const entry = newEntry(job, moment.now_ms);
    await this.options.store.begin(entry);
    this.countUsage(1, 0);
    const abort = new AbortController();
    const key = nameOf(job);
    this.delivery.say({ type: "accept", job_id: job.job_id, lease: job.lease });
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
      if (error instanceof DOMException) this.noteStoreFailure(error);
      else reportError(error);
      const { job_id, lease } = allowed.job;
      this.delivery.say({
        type: "refuse",
        job_id,
        lease,
        reason: "busy",
        detail: "this browser cannot store the page",
      });
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
    this.countUsage(0, frame.length);
    await this.delivery.sendResult(allowed.job, frame);
  }

  private async sendNote(job: Job, entry: LogEntry, why: NotFetched): Promise<void> {
    if (why.sign === "proxy") this.proxySeenMs = Date.now();
    const answer = answerFor(job, why);
    const isKept = await this.options.store.concludeNote({ ...entry, finished_ms: Date.now() }, answer);
    if (isKept) this.delivery.sendNote(answer);
  }

  private async drop(job: Job, received_bytes: number): Promise<void> {
    await this.options.store.cancelled(job, { finished_ms: Date.now(), received_bytes, sent_bytes: 0 });
  }

  private async askHop(job: Job, url: AllowedUrl, signal: AbortSignal): Promise<NotFetched | null> {
    const denial = checkHost(this.options.rules(), url.host);
    if (denial !== null) return { kind: "refusal", reason: denial.code, detail: denial.detail };
    const { job_id, lease } = job;
    const question: Hop = { type: "hop", job_id, lease, url: url.href };
    const verdict = await new Promise<HopVerdict>((settle, reject) => {
      this.hops.set(nameOf(job), { question, settle });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      this.delivery.say(question);
    }).finally(() => this.hops.delete(nameOf(job)));
    if (verdict.allowed) return null;
    const detail = verdict.reason.slice(0, DETAIL_CHARACTERS) || "by the dispatcher";
    return { kind: "failure", reason: "hop_refused", detail };
  }

  /** Throws what is no failure of the store. */
  private noteStoreFailure(error: unknown): void {
    if (!(error instanceof DOMException)) throw error;
    this.storeFailedMs = Date.now();
    this.options.changed();
  }
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
