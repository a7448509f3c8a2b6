/** Waiting that ends: by a signal, or by silence. */

/** What a promise resolves to, unless the signal is aborted before; then rejects with its reason. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Aborts its signal once nothing was heard for a while. `end` it, or it fires later. */
export class Silence {
  private readonly controller = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Begin anew: abort unless called again within `ms`. */
  restart(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(), ms);
  }

  end(): void {
    clearTimeout(this.timer);
  }
}

/** In how many parts a wait for a word is spent. */
const STEPS = 8;

/** Something said once; whoever waits hears it, also when it was said before. */
export class Word<T> {
  private readonly spoken: Promise<T>;
  private resolve: (said: T) => void = () => {};

  constructor() {
    this.spoken = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** Say it; what is said later is not heard. */
  say(said: T): void {
    this.resolve(said);
  }

  /**
   * What was said, null where nothing is within `ms` of this worker's life: where the system lets it stand still, what is
   * said meanwhile is heard only after the timer that ran out, and costs the wait one step.
   */
  async within(ms: number): Promise<T | null> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silence = new Promise<null>((resolve) => {
      const wait = (steps: number): void => {
        timer = setTimeout(() => (steps > 1 ? wait(steps - 1) : resolve(null)), ms / STEPS);
      };
      wait(STEPS);
    });
    try {
      return await Promise.race([this.spoken, silence]);
    } finally {
      clearTimeout(timer);
    }
  }
}
