/**
 * The running node: decides whether it may be connected at all, dials, serves a session, dials again.
 *
 * The browser may end the worker at any await and start it again for any event. So `wake` is idempotent: it compares
 * what the owner and the browser allow with what is running, and changes only the difference. Nothing but the open
 * socket and the fetches in hand lives in memory alone.
 */
import { failuresAfterSession, waitMs } from "../node/backoff.ts";
import { isAccepted } from "../node/consent.ts";
import { type DispatcherUrl, parseDispatcherUrl } from "../node/dispatcher_url.ts";
import { DispatcherError, DispatcherNewer, DispatcherUntrusted } from "../node/errors.ts";
import { type Fetcher, USER_AGENT } from "../node/fetching.ts";
import { isPaused, type Surroundings } from "../node/owner_rules.ts";
import { INITIAL_STANDING, type NodeState, type OwnerState, type Purpose, type Standing } from "../node/owner_state.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Signer } from "../protocol/keys.ts";
import type { FromDispatcher } from "../protocol/messages.ts";
import type { Statement } from "../protocol/statements.ts";
import type { Challenge, Hello } from "../protocol/types.ts";
import {
  askForUpdate,
  hasPermission,
  keepWaking,
  readState,
  stayAwake,
  stopWaking,
  wakeAt,
  writeState,
} from "./browser.ts";
import { BrowserJobs } from "./browser_jobs.ts";
import { IndexedDbStore } from "./indexeddb_store.ts";
import { nodeKey, ownWallet } from "./webcrypto_keys.ts";
import { WebSocketSession } from "./websocket_session.ts";

const FINISH_MS = 5_000;
const DRAIN_FINISH_MS = 35_000;
const LONGEST_DRAIN_WAIT_MS = 600_000;
/** How long the worker may be trusted to sleep through a timer; longer waits are left to an alarm. */
const LONGEST_TIMER_MS = 25_000;
const UPDATE_REST_MS = 3_600_000;
const SAY_EVERY_MS = 250;

/** What runs while the node may work: all of it is made anew after a pause or a restart of the worker. */
interface Running {
  readonly store: IndexedDbStore;
  readonly signer: Signer;
  readonly jobs: BrowserJobs;
}

export interface NodeOptions {
  readonly fetcher: Fetcher;
  readonly surroundings: () => Surroundings;
  /** Told the address the dispatcher sees this browser at, null where it does not say. */
  readonly atAddress: (address: string | null) => void;
  /** Shows how the node stands, beside what is kept in the storage. */
  readonly show: (state: OwnerState) => Promise<void>;
}

/** A node in a browser. Owned by one worker; every method may be called at any time and in any order. */
export class BrowserNode {
  private queue: Promise<void> = Promise.resolve();
  private state: OwnerState | null = null;
  private standing: Standing | null = null;
  private running: Running | null = null;
  private session: WebSocketSession | null = null;
  private dialling: DispatcherUrl | null = null;
  private greeting: Hello | null = null;
  private announced = "";
  private sayTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: NodeOptions) {}

  /** Bring what runs in line with what is allowed. Resolves when that is done; calls are taken one after another. */
  wake(): Promise<void> {
    const done = this.queue.then(() => this.reconcile());
    this.queue = done.catch(() => undefined);
    return done;
  }

  /** The right to read sites was granted or withdrawn: withdrawn, nothing more is sent from this moment on. */
  async permissionChanged(): Promise<void> {
    if (!(await hasPermission())) this.session?.close();
    await this.wake();
  }

  /** Take no more jobs and finish those in hand, as far as that goes in time: an update of the extension waits. */
  async makeWay(): Promise<void> {
    this.running?.jobs.stopTaking();
    this.announce();
    await this.running?.jobs.idle(DRAIN_FINISH_MS, FINISH_MS);
  }

  /** The extension was updated: a dispatcher that was too new is dialled again at once. */
  async updated(): Promise<void> {
    const { standing } = await readState();
    if (standing.state === "update_required") await writeState({ standing: { ...standing, dial_ms: null } });
    await this.wake();
  }

  private async reconcile(): Promise<void> {
    const state = await readState();
    this.state = state;
    this.standing ??= state.standing;
    const halt = await this.halted(state);
    if (halt === null) await this.run(state);
    else await this.stop(halt, state);
    await this.options.show(await readState());
  }

  private async run(state: OwnerState): Promise<void> {
    await keepWaking();
    this.running ??= await this.start(state);
    const dispatcher = parseDispatcherUrl(state.dispatcher);
    if (this.hasNewGreeting() || (this.dialling !== null && this.dialling.url !== dispatcher.url)) this.leave();
    if (this.dialling === null) await this.dialWhenDue(this.running, dispatcher);
    else this.announce();
  }

  /** Why the node may not be connected now; null where it may. */
  private async halted(state: OwnerState): Promise<NodeState | null> {
    if (!isAccepted(state.consent)) return "no_consent";
    if (!(await hasPermission())) return "no_permission";
    if (isPaused(state.rules, Date.now())) return "paused";
    const { standing } = this;
    if (standing?.state === "untrusted" && standing.dispatcher === state.dispatcher && state.pinned_root !== null) {
      return "untrusted";
    }
    return null;
  }

  private async start(state: OwnerState): Promise<Running> {
    const store = await IndexedDbStore.open();
    const signer = await nodeKey(store);
    if (state.wallet === null) {
      await writeState({ wallet: { address: await ownWallet(store), own: true, backed_up: false } });
      this.state = await readState();
    }
    const jobs = new BrowserJobs({
      store,
      signer,
      fetcher: this.options.fetcher,
      wallet: () => this.state?.wallet?.address ?? signer.public_key,
      rules: () => this.state?.rules ?? state.rules,
      surroundings: this.options.surroundings,
      changed: () => this.announce(),
    });
    await jobs.recover();
    this.say({ node_key: signer.public_key });
    return { store, signer, jobs };
  }

  /** End everything that runs. After a pause the answers in hand are still delivered; else nothing more is sent. */
  private async stop(halt: NodeState, state: OwnerState): Promise<void> {
    const { running } = this;
    if (running !== null) {
      running.jobs.stopTaking();
      if (halt === "paused") {
        await running.jobs.giveUp("paused", "paused by the owner");
        this.announce();
        await running.jobs.idle(0, FINISH_MS);
      } else {
        this.session?.close();
        await running.jobs.giveUp("stopping", "the owner stopped the node");
      }
      this.session?.close();
      this.running = this.dialling = this.greeting = null;
      running.store.close();
    }
    await stopWaking();
    const until_ms = state.rules.pause?.until_ms ?? null;
    if (halt === "paused" && until_ms !== null) await wakeAt(until_ms);
    if (halt === "no_consent") this.standing = INITIAL_STANDING;
    else this.say({ state: halt, dial_ms: null, available: 0, idle_reason: "", jobs_in_hand: 0 });
  }

  /** Close the session so that the next one says what changed; the jobs in hand go on. */
  private leave(): void {
    this.session?.close();
    this.dialling = this.greeting = null;
    this.say({ dial_ms: null, dial_failures: 0 });
  }

  /** Whether the owner changed what the open session was begun with. */
  private hasNewGreeting(): boolean {
    const { greeting, session, state } = this;
    if (greeting === null || session === null || state === null) return false;
    return (
      greeting.wallet !== state.wallet?.address || greeting.purposes.join() !== sorted(state.rules.purposes).join()
    );
  }

  private async dialWhenDue(running: Running, dispatcher: DispatcherUrl): Promise<void> {
    const dial_ms = this.standing?.dispatcher === this.state?.dispatcher ? (this.standing?.dial_ms ?? 0) : 0;
    const wait_ms = dial_ms - Date.now();
    if (wait_ms > 0) {
      await wakeAt(dial_ms);
      if (wait_ms <= LONGEST_TIMER_MS) setTimeout(() => void this.wake(), wait_ms);
      return;
    }
    this.dialling = dispatcher;
    void this.hold(running, dispatcher);
  }

  /** One session from dialling to its end, then whatever is due next. */
  private async hold(running: Running, dispatcher: DispatcherUrl): Promise<void> {
    try {
      await this.connect(running, dispatcher);
    } finally {
      await this.wake();
    }
  }

  /** Dial and serve one session. Whatever ends it, the next moment to dial is set. */
  private async connect(running: Running, dispatcher: DispatcherUrl): Promise<void> {
    const failures = this.standing?.dial_failures ?? 0;
    const acknowledged = running.jobs.acknowledged;
    const began_ms = Date.now();
    let next: Partial<Standing> = { state: "connecting", trouble: "the extension met an error of its own" };
    let wait_ms: number | null = null;
    this.say({ state: "connecting", dispatcher: this.state?.dispatcher ?? "", dial_ms: null });
    try {
      const session = await this.open(running, dispatcher);
      if (session !== null) wait_ms = await this.serve(running, session);
      next = { state: "connecting", trouble: "" };
    } catch (error) {
      if (!(error instanceof DispatcherError)) throw error;
      if (error instanceof DispatcherNewer) {
        wait_ms = UPDATE_REST_MS;
        await askForUpdate();
      }
      next = { state: stateAfter(error), trouble: error.message };
    } finally {
      if (this.dialling === dispatcher) {
        this.dialling = null;
        const brought = running.jobs.acknowledged - acknowledged;
        const counted = failuresAfterSession(failures, Date.now() - began_ms, brought);
        wait_ms ??= waitMs(counted, Math.random());
        this.say({ ...next, dial_ms: Date.now() + wait_ms, dial_failures: counted + 1 });
      }
    }
  }

  /** An open session; null where the node was stopped meanwhile. */
  private async open(running: Running, dispatcher: DispatcherUrl): Promise<WebSocketSession | null> {
    const session = await WebSocketSession.open({
      dispatcher,
      root_key: this.state?.pinned_root ?? null,
      signer: running.signer,
      helloFor: (challenge) => this.helloFor(challenge, running),
      awake: () => void stayAwake().then(() => this.announce()),
    });
    if (this.running !== running || this.dialling !== dispatcher) {
      session.close();
      return null;
    }
    if (this.state?.pinned_root === null) await writeState({ pinned_root: session.certificate.root_key });
    return session;
  }

  private helloFor(challenge: Challenge, running: Running): Hello {
    const { count, reason } = running.jobs.availability();
    this.announced = `${count} ${reason}`;
    this.greeting = {
      v: 1,
      nonce: challenge.nonce,
      audience: challenge.audience,
      expires_ms: challenge.expires_ms,
      node_key: running.signer.public_key,
      wallet: this.state?.wallet?.address ?? running.signer.public_key,
      agent: USER_AGENT,
      country: null,
      modes: ["direct"],
      purposes: sorted(this.state?.rules.purposes ?? []),
      max_concurrent_jobs: count,
    };
    return this.greeting;
  }

  /** Serve a session to its end; the wait that the dispatcher asked for, null where it did not. */
  private async serve(running: Running, session: WebSocketSession): Promise<number | null> {
    this.session = session;
    this.options.atAddress(session.welcome.your_address);
    this.say({ state: "connected", trouble: "", dial_ms: null });
    const sending = running.jobs.sessionOpened(session);
    let reconnect_after_ms: number | null = null;
    try {
      for await (const frame of session.frames()) {
        if ("type" in frame && frame.type === "drain") {
          reconnect_after_ms = Math.min(frame.reconnect_after_ms, LONGEST_DRAIN_WAIT_MS);
          this.say({ state: "draining" });
          void running.jobs.idle(DRAIN_FINISH_MS, FINISH_MS).then(() => session.close());
        } else {
          await this.take(frame, running, session);
        }
      }
    } catch (error) {
      throw error instanceof ProtocolError ? session.fail(error) : error;
    } finally {
      running.jobs.sessionEnded(session);
      session.close();
      if (this.session === session) this.session = null;
      await sending;
    }
    return reconnect_after_ms;
  }

  private async take(frame: FromDispatcher | Statement, running: Running, session: WebSocketSession): Promise<void> {
    if ("kind" in frame) {
      await running.jobs.onJob(frame, session.certificate);
      return;
    }
    switch (frame.type) {
      case "ack":
        return running.jobs.onAck(frame);
      case "hop_verdict":
        return running.jobs.onVerdict(frame);
      case "cancel":
        return running.jobs.onCancel(frame);
      case "balance": {
        const { pending, confirmed, paid, void: taken_back, time_ms } = frame;
        return writeState({ earnings: { pending, confirmed, paid, void: taken_back, time_ms } });
      }
      case "reputation": {
        const { score, parts, time_ms } = frame;
        return writeState({ reputation: { score, parts, time_ms } });
      }
    }
  }

  /** Tell the dispatcher when what may be sent here has changed, and the owner when anything has. */
  private announce(): void {
    const { running, session } = this;
    if (running === null) return;
    const { count, reason } = running.jobs.availability();
    if (session !== null && this.announced !== `${count} ${reason}`) {
      this.announced = `${count} ${reason}`;
      session.send({ type: "availability", max_concurrent_jobs: count, reason });
    }
    this.say({ available: count, idle_reason: reason, jobs_in_hand: running.jobs.count });
  }

  /** Keep what the node says of itself; written a moment later, so that many changes cost one write. */
  private say(changes: Partial<Standing>): void {
    const before = this.standing;
    if (before === null) return;
    const entries = Object.entries(changes) as [keyof Standing, unknown][];
    if (entries.every(([name, value]) => before[name] === value)) return;
    const since_ms = changes.state !== undefined && changes.state !== before.state ? Date.now() : before.since_ms;
    this.standing = { ...before, ...changes, since_ms };
    this.sayTimer ??= setTimeout(() => {
      this.sayTimer = undefined;
      void this.write();
    }, SAY_EVERY_MS);
  }

  private async write(): Promise<void> {
    if (this.standing === null) return;
    const { consent } = await readState();
    if (consent === null) return;
    await writeState({ standing: this.standing });
    await this.options.show(await readState());
  }
}

function sorted(purposes: readonly Purpose[]): readonly Purpose[] {
  return [...purposes].sort();
}

function stateAfter(error: DispatcherError): NodeState {
  if (error instanceof DispatcherUntrusted) return "untrusted";
  return error instanceof DispatcherNewer ? "update_required" : "connecting";
}
