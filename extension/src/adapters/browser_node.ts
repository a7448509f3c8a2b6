/**
 * The running node: decides whether it may be connected at all, dials, and dials again.
 *
 * The browser may end the worker at any await and start it again for any event. So `wake` is idempotent: it compares
 * what the owner and the browser allow with what is running, and changes only the difference. Nothing but the open
 * socket and the fetches in hand lives in memory alone.
 */
import { failuresAfterSession, waitMs } from "../node/backoff.ts";
import { isAccepted } from "../node/consent.ts";
import { type DispatcherUrl, parseDispatcherUrl } from "../node/dispatcher_url.ts";
import type { Fetcher } from "../node/fetching.ts";
import { isPaused, type Surroundings } from "../node/owner_rules.ts";
import { INITIAL_STATE, type NodeState, type OwnerState, type Standing } from "../node/owner_state.ts";
import type { Signer } from "../protocol/keys.ts";
import {
  askForUpdate,
  forgetState,
  hasPermission,
  keepWaking,
  readState,
  stopWaking,
  wakeAt,
  writeState,
} from "./browser.ts";
import { BrowserJobs } from "./browser_jobs.ts";
import { DispatcherConnection, type Ending } from "./dispatcher_connection.ts";
import { IndexedDbStore } from "./indexeddb_store.ts";
import { KeptStanding } from "./kept_standing.ts";
import { takeNodeLock } from "./node_lock.ts";
import { nodeKey, ownWallet } from "./webcrypto_keys.ts";

/** How long a pause waits for the acknowledgements of what it handed back. */
const ACKNOWLEDGE_MS = 5_000;
/** How long an update of the extension waits for the jobs in hand. */
const UPDATE_FINISH_MS = 35_000;
const LONGEST_DRAIN_WAIT_MS = 600_000;
/** How long the worker may be trusted to sleep through a timer; longer waits are left to an alarm. */
const LONGEST_TIMER_MS = 25_000;
const UPDATE_REST_MS = 3_600_000;
/** More than any wait: a later moment to dial was set before the clock went back. */
const NO_WAIT_MS = 2 * UPDATE_REST_MS;

/** What a node that does not run says of itself, beside its state: when it may run again, it dials at once. */
const AT_REST: Partial<Standing> = { available: 0, idle_reason: "", jobs_in_hand: 0, dial_ms: null, dial_failures: 0 };

/** What runs while the node may work: all of it is made anew after a pause or a restart of the worker. */
interface Running {
  readonly store: IndexedDbStore;
  readonly signer: Signer;
  readonly jobs: BrowserJobs;
  readonly giveLockBack: () => void;
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
  private state: OwnerState = INITIAL_STATE;
  private readonly standing = new KeptStanding((standing) => this.write(standing));
  private running: Running | null = null;
  private connection: DispatcherConnection | null = null;
  private dialTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whether nothing was heard of the permission since it was last asked for. */
  private isPermissionFresh = false;

  constructor(private readonly options: NodeOptions) {}

  /**
   * Bring what runs in line with what is allowed. Never rejects; calls are taken one after another. What goes wrong is
   * reported, and the next wake tries again.
   */
  wake(): Promise<void> {
    return this.inTurn(() => this.reconcile());
  }

  /** The right to read sites was granted or withdrawn: withdrawn, nothing more is sent from this moment on. */
  async permissionChanged(): Promise<void> {
    this.isPermissionFresh = false;
    if (!(await hasPermission())) this.connection?.close();
    await this.wake();
  }

  /** Take no more jobs and finish those in hand, as far as that goes in time: an update of the extension waits. */
  async makeWay(): Promise<void> {
    this.running?.jobs.stopTaking();
    this.announce();
    await this.running?.jobs.idle(UPDATE_FINISH_MS, ACKNOWLEDGE_MS);
  }

  /** The extension was updated: a dispatcher that was too new is dialled again at once. */
  updated(): Promise<void> {
    return this.inTurn(async () => {
      this.standing.begin((await readState()).standing);
      if (this.standing.value.state === "update_required") this.standing.say({ dial_ms: null });
      await this.reconcile();
    });
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    this.queue = this.queue.then(work).catch(reportError);
    return this.queue;
  }

  private async reconcile(): Promise<void> {
    const state = await readState();
    this.state = state;
    this.standing.begin(state.standing);
    const halt = await this.halted(state);
    if (halt === null) await this.run(state);
    else await this.stop(halt, state);
    await this.options.show(await readState());
  }

  /** Why the node may not be connected now; null where it may. */
  private async halted(state: OwnerState): Promise<NodeState | null> {
    if (!isAccepted(state.consent)) return "no_consent";
    this.isPermissionFresh = true;
    if (!(await hasPermission())) return "no_permission";
    const standing = this.standing.value;
    if (standing.state === "untrusted" && standing.dispatcher === state.dispatcher && state.pinned_root !== null) {
      return "untrusted";
    }
    return isPaused(state.rules, Date.now()) ? "paused" : null;
  }

  private async run(state: OwnerState): Promise<void> {
    await keepWaking();
    this.running ??= await this.start(state);
    if (this.running === null) return;
    const dispatcher = parseDispatcherUrl(state.dispatcher);
    const { connection } = this;
    if (connection !== null && !(connection.dispatcher.url === dispatcher.url && connection.isAsGreeted())) {
      await this.leave(connection);
      this.standing.say({ dial_ms: null, dial_failures: 0 });
    }
    this.announce();
    if (this.connection === null) await this.dialWhenDue(this.running, dispatcher);
  }

  /** What runs from now on; null where this browser cannot keep what a node must not lose. */
  private async start(state: OwnerState): Promise<Running | null> {
    const giveLockBack = await takeNodeLock();
    let store: IndexedDbStore | null = null;
    try {
      store = await IndexedDbStore.open();
      return await this.furnish(store, state, giveLockBack);
    } catch (error) {
      store?.close();
      giveLockBack();
      if (!(error instanceof DOMException)) throw error;
      this.standing.say({ state: "connecting", trouble: error.message, available: 0, idle_reason: "storage" });
      return null;
    }
  }

  private async furnish(store: IndexedDbStore, state: OwnerState, giveLockBack: () => void): Promise<Running> {
    const signer = await nodeKey(store);
    if (state.wallet === null) {
      const wallet = { address: await ownWallet(store), own: true, backed_up: false };
      await writeState({ wallet });
      this.state = { ...state, wallet };
    }
    const jobs = new BrowserJobs({
      store,
      signer,
      fetcher: this.options.fetcher,
      wallet: () => this.state.wallet?.address ?? signer.public_key,
      rules: () => this.state.rules,
      surroundings: this.options.surroundings,
      changed: () => this.announce(),
    });
    await jobs.recover();
    this.standing.say({ node_key: signer.public_key });
    return { store, signer, jobs, giveLockBack };
  }

  /** End everything that runs. After a pause the answers in hand are still delivered; else nothing more is sent. */
  private async stop(halt: NodeState, state: OwnerState): Promise<void> {
    const { running } = this;
    clearTimeout(this.dialTimer);
    try {
      if (running !== null) await this.end(running, halt);
      await stopWaking();
      const until_ms = state.rules.pause?.until_ms ?? null;
      if (halt === "paused" && until_ms !== null) await wakeAt(until_ms);
      if (halt === "no_consent") await this.forget();
      else this.standing.say({ ...AT_REST, state: halt });
      if (running !== null) await this.standing.flush();
    } finally {
      this.running = null;
      running?.store.close();
      running?.giveLockBack();
    }
  }

  private async end({ jobs }: Running, halt: NodeState): Promise<void> {
    jobs.stopTaking();
    if (halt === "paused") {
      this.announce();
      await jobs.giveUp("paused", "paused by the owner");
      await jobs.idle(0, ACKNOWLEDGE_MS);
    }
    if (this.connection !== null) await this.leave(this.connection);
    await jobs.giveUp("stopping", "the owner stopped the node");
  }

  /** Close a connection, and wait until nothing of it goes on. The jobs in hand go on. */
  private async leave(connection: DispatcherConnection): Promise<void> {
    connection.close();
    await connection.ended;
    if (this.connection === connection) this.connection = null;
  }

  private async dialWhenDue(running: Running, dispatcher: DispatcherUrl): Promise<void> {
    const { standing, state } = this;
    clearTimeout(this.dialTimer);
    if (standing.value.dispatcher !== state.dispatcher) {
      standing.say({ dispatcher: state.dispatcher, dial_ms: null, dial_failures: 0 });
    }
    const dial_ms = standing.value.dial_ms ?? 0;
    const wait_ms = dial_ms - Date.now();
    if (wait_ms > 0 && wait_ms < NO_WAIT_MS) {
      await wakeAt(dial_ms);
      if (wait_ms <= LONGEST_TIMER_MS) this.dialTimer = setTimeout(() => void this.wake(), wait_ms);
      return;
    }
    if (!this.isPermissionFresh) return;
    standing.say({ state: "connecting", dial_ms: null });
    const connection = new DispatcherConnection({
      dispatcher,
      signer: running.signer,
      jobs: running.jobs,
      owner: () => this.state,
      say: (changes) => standing.say(changes),
      atAddress: this.options.atAddress,
      beat: () => this.announce(),
    });
    this.connection = connection;
    const acknowledged = running.jobs.acknowledged;
    void connection.ended.then((ending) => {
      if (this.connection === connection) this.connection = null;
      if (ending !== null) this.sayEnding(ending, running.jobs.acknowledged - acknowledged);
      return this.wake();
    });
  }

  /** Set the next moment to dial. `brought` is how many answers the session saw acknowledged. */
  private sayEnding({ state, trouble, asked_ms, lasted_ms }: Ending, brought: number): void {
    const failures = failuresAfterSession(this.standing.value.dial_failures, lasted_ms, brought);
    const drain_ms = asked_ms === null ? null : Math.min(asked_ms, LONGEST_DRAIN_WAIT_MS);
    const wait_ms = state === "update_required" ? UPDATE_REST_MS : (drain_ms ?? waitMs(failures, Math.random()));
    this.standing.say({ state, trouble, dial_ms: Date.now() + wait_ms, dial_failures: failures + 1 });
    if (state === "update_required") askForUpdate().catch(reportError);
  }

  /** Tell the dispatcher when what may be sent here has changed, and the owner when anything has. */
  private announce(): void {
    const { running } = this;
    if (running === null) return;
    const availability = running.jobs.availability();
    this.connection?.announce(availability);
    const { count, reason } = availability;
    this.standing.say({ available: count, idle_reason: reason, jobs_in_hand: running.jobs.count });
  }

  /** Without the owner's consent nothing is kept: what a page erased meanwhile stays erased. */
  private async write(standing: Standing): Promise<void> {
    if ((await readState()).consent !== null) await writeState({ standing });
    const state = await readState();
    if (state.consent === null) await this.forget();
    await this.options.show(state);
  }

  private async forget(): Promise<void> {
    this.standing.forget();
    await forgetState(["standing"]);
  }
}
