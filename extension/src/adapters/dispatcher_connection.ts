/** One connection with a dispatcher, from dialling to its end: what comes goes to the jobs, or to what the owner is shown. */
import type { DispatcherUrl } from "../node/dispatcher_url.ts";
import { DispatcherError, DispatcherNewer, DispatcherRefused, DispatcherUntrusted } from "../node/errors.ts";
import { USER_AGENT } from "../node/fetching.ts";
import type { OwnerState, Purpose, Standing } from "../node/owner_state.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Signer } from "../protocol/keys.ts";
import type { FromDispatcher } from "../protocol/messages.ts";
import type { Statement } from "../protocol/statements.ts";
import type { Challenge, Hello } from "../protocol/types.ts";
import { stayAwake, writeState } from "./browser.ts";
import type { Availability, BrowserJobs } from "./browser_jobs.ts";
import { WebSocketSession } from "./websocket_session.ts";

/** How long the jobs in hand may take once the dispatcher drains, and then their acknowledgements. */
const DRAIN_FINISH_MS = 35_000;
const DRAIN_ACKNOWLEDGE_MS = 5_000;

export interface ConnectionOptions {
  readonly dispatcher: DispatcherUrl;
  readonly signer: Signer;
  readonly jobs: BrowserJobs;
  /** The owner's word as it stands. */
  readonly owner: () => OwnerState;
  readonly say: (changes: Partial<Standing>) => void;
  /** Told the address the dispatcher sees this browser at, null where it does not say. */
  readonly atAddress: (address: string | null) => void;
  /** Called when the session opens and beside every ping. */
  readonly beat: () => void;
}

/**
 * How a connection ended. `trouble` says in words why, empty where nothing is wrong; `asked_ms` is the wait that the
 * dispatcher asked for; `lasted_ms` is how long the session stood.
 */
export interface Ending {
  readonly state: "connecting" | "untrusted" | "update_required";
  readonly trouble: string;
  readonly asked_ms: number | null;
  readonly lasted_ms: number;
}

/** A connection. It is dialled as soon as it is made. */
export class DispatcherConnection {
  readonly dispatcher: DispatcherUrl;
  /** Resolves when nothing of the connection goes on; null where it was closed from here. Never rejects. */
  readonly ended: Promise<Ending | null>;
  private readonly closing = new AbortController();
  private session: WebSocketSession | null = null;
  private greeting: Hello | null = null;
  private announced = "";
  private opened_ms: number | null = null;
  private asked_ms: number | null = null;

  constructor(private readonly options: ConnectionOptions) {
    this.dispatcher = options.dispatcher;
    this.ended = this.run();
  }

  /** Close at once, at whatever stage: nothing more is sent. */
  close(): void {
    this.closing.abort();
  }

  /** Whether it was begun with what the owner's word still is. */
  isAsGreeted(): boolean {
    const { greeting } = this;
    if (greeting === null) return true;
    const { wallet, purposes } = this.introduction();
    return greeting.wallet === wallet && greeting.purposes.join() === purposes.join();
  }

  /** Tell the dispatcher how many jobs may be held, where that has changed. */
  announce({ count, reason }: Availability): void {
    if (this.session === null || !this.isNews(count, reason)) return;
    this.session.send({ type: "availability", max_concurrent_jobs: count, reason });
  }

  private async run(): Promise<Ending | null> {
    let end: Pick<Ending, "state" | "trouble"> = { state: "connecting", trouble: "" };
    try {
      await this.serve(await this.open());
    } catch (error) {
      if (!this.closing.signal.aborted) end = endAfter(error);
    }
    if (this.closing.signal.aborted) return null;
    this.close();
    const lasted_ms = this.opened_ms === null ? 0 : Date.now() - this.opened_ms;
    return { ...end, asked_ms: this.asked_ms, lasted_ms };
  }

  private async open(): Promise<WebSocketSession> {
    const { dispatcher, signer, owner, beat } = this.options;
    const session = await WebSocketSession.open({
      dispatcher,
      root_key: owner().pinned_root,
      signer,
      helloFor: (challenge) => this.helloFor(challenge),
      awake: () => {
        stayAwake().catch(reportError);
        beat();
      },
      signal: this.closing.signal,
    });
    this.opened_ms = Date.now();
    if (owner().pinned_root === null) await writeState({ pinned_root: session.certificate.root_key });
    return session;
  }

  private helloFor(challenge: Challenge): Hello {
    const { count, reason } = this.options.jobs.availability();
    this.isNews(count, reason);
    this.greeting = {
      v: 1,
      nonce: challenge.nonce,
      audience: challenge.audience,
      expires_ms: challenge.expires_ms,
      node_key: this.options.signer.public_key,
      agent: USER_AGENT,
      country: null,
      modes: ["direct"],
      max_concurrent_jobs: count,
      ...this.introduction(),
    };
    return this.greeting;
  }

  /** What of the owner's word a hello says: when it changes, a new session has to begin. */
  private introduction(): Pick<Hello, "wallet" | "purposes"> {
    const { wallet, rules } = this.options.owner();
    const purposes: readonly Purpose[] = [...rules.purposes].sort();
    return { wallet: wallet?.address ?? this.options.signer.public_key, purposes };
  }

  private isNews(count: number, reason: string): boolean {
    const before = this.announced;
    this.announced = `${count} ${reason}`;
    return this.announced !== before;
  }

  private async serve(session: WebSocketSession): Promise<void> {
    const { jobs, say, atAddress, beat } = this.options;
    this.closing.signal.throwIfAborted();
    this.session = session;
    atAddress(session.welcome.your_address);
    say({ state: "connected", trouble: "", dial_ms: null });
    const sending = jobs.sessionOpened(session).catch(reportError);
    beat();
    try {
      for await (const frame of session.frames()) await this.take(frame, session);
    } catch (error) {
      if (error instanceof DispatcherRefused) await jobs.sessionRefused(error.code, error.message);
      throw error instanceof ProtocolError ? session.fail(error) : error;
    } finally {
      jobs.sessionEnded(session);
      session.close();
      this.session = null;
      await sending;
    }
  }

  private async take(frame: FromDispatcher | Statement, session: WebSocketSession): Promise<void> {
    const { jobs } = this.options;
    if ("kind" in frame) return jobs.onJob(frame, session.certificate);
    switch (frame.type) {
      case "ack":
        return jobs.onAck(frame);
      case "hop_verdict":
        return jobs.onVerdict(frame);
      case "cancel":
        return jobs.onCancel(frame);
      case "balance": {
        const { pending, confirmed, paid, void: taken_back, time_ms } = frame;
        return keep({ earnings: { pending, confirmed, paid, void: taken_back, time_ms } });
      }
      case "reputation": {
        const { score, parts, time_ms } = frame;
        return keep({ reputation: { score, parts, time_ms } });
      }
      case "drain":
        this.asked_ms = frame.reconnect_after_ms;
        this.options.say({ state: "draining" });
        this.finish(session).catch(reportError);
    }
  }

  /** End a draining session once its jobs are answered. */
  private async finish(session: WebSocketSession): Promise<void> {
    await this.options.jobs.idle(DRAIN_FINISH_MS, DRAIN_ACKNOWLEDGE_MS);
    session.close();
  }
}

function endAfter(error: unknown): Pick<Ending, "state" | "trouble"> {
  if (error instanceof DispatcherUntrusted) return { state: "untrusted", trouble: error.message };
  if (error instanceof DispatcherNewer) return { state: "update_required", trouble: error.message };
  if (error instanceof DispatcherError) return { state: "connecting", trouble: error.message };
  reportError(error);
  return { state: "connecting", trouble: "the extension met an error of its own" };
}

/** Keep what the owner is shown; storage that cannot be written costs the owner this message and no more. */
async function keep(shown: Pick<Partial<OwnerState>, "earnings" | "reputation">): Promise<void> {
  try {
    await writeState(shown);
  } catch (error) {
    reportError(error);
  }
}
