/** What the node says of itself: known at once here, in the storage a moment later, so that many changes cost one write. */
import { INITIAL_STANDING, type Standing } from "../node/owner_state.ts";

const WRITE_AFTER_MS = 250;

/** Owned by one node. */
export class KeptStanding {
  private current: Standing | null = null;
  private isWritten = true;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private writing: Promise<void> = Promise.resolve();

  /** `write` puts a standing into the storage; it is called again only when it has ended. */
  constructor(private readonly write: (standing: Standing) => Promise<void>) {}

  /** As it stands now. */
  get value(): Standing {
    return this.current ?? INITIAL_STANDING;
  }

  /** Go on from what an earlier worker wrote. Does nothing after the first call. */
  begin(stored: Standing): void {
    this.current ??= stored;
  }

  /** Change some of it. A new state is dated now. */
  say(changes: Partial<Standing>): void {
    const before = this.value;
    const entries = Object.entries(changes) as [keyof Standing, unknown][];
    if (entries.every(([name, value]) => before[name] === value)) return;
    const since_ms = changes.state !== undefined && changes.state !== before.state ? Date.now() : before.since_ms;
    this.current = { ...before, ...changes, since_ms };
    this.isWritten = false;
    this.timer ??= setTimeout(() => void this.flush().catch(reportError), WRITE_AFTER_MS);
  }

  /** Start anew, and write nothing of what was said. */
  forget(): void {
    this.current = INITIAL_STANDING;
    this.isWritten = true;
  }

  /** Write what is not written yet; resolves when nothing is being written any more. Rejects where the storage does. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    const done = this.writing.then(async () => {
      if (this.isWritten) return;
      this.isWritten = true;
      try {
        await this.write(this.value);
      } catch (error) {
        this.isWritten = false;
        throw error;
      }
    });
    this.writing = done.catch(() => undefined);
    return done;
  }
}
