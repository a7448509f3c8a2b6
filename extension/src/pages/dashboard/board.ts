/** What the sections of the dashboard share. */
import type { IndexedDbStore } from "../../adapters/indexeddb_store.ts";
import type { OwnerState } from "../../node/owner_state.ts";

/** The dashboard, as its sections see it. */
export interface Board {
  /** The log's store, opened once. Rejects where the browser refuses. */
  store(): Promise<IndexedDbStore>;
  /** Say something to people who do not see the page. */
  announce(words: string): void;
  /** Read the state and show it to every section; resolves when the page shows it. */
  refresh(): Promise<void>;
  /** Have a section show what the store has; a store that cannot be read is told of above all sections. */
  reload(section: Section): Promise<void>;
  /** Everything is about to be erased: nothing is read from now on, so that nothing comes into being again. */
  end(): Promise<void>;
}

/** One section. Its methods change only what differs, so that focus, selection and scroll position stay. */
export interface Section {
  /** Show the state: at the start, and after every change of it. */
  showState?(state: OwnerState): void;
  /**
   * Show what the store has: when the section comes into view, at most twice a second when the log has changed, and every
   * quarter of an hour. Rejects where the store does.
   */
  showLog?(): Promise<void>;
  /** The clock moved on; called every second while the section is in view. */
  showTime?(now: Date): void;
}
