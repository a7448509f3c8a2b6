/**
 * The database: its stores, its connection, and transactions that apply as a whole or not at all.
 *
 * Source: Indexed Database API 3.0 (w3.org/TR/IndexedDB-3). Everything rejects with the DOMException of the browser.
 */

export const DATABASE = "meadow";
const VERSION = 1;

export type StoreName = "keys" | "journal" | "outbox" | "frames" | "hours";

/**
 * How surely a write is on the disk when it is reported done: "strict" outlives a power cut, "relaxed" the end of the
 * browser's processes.
 */
export type Durability = "strict" | "relaxed";

/**
 * A connection that opens when it is needed, and again after the browser or another context closed it. It is closed for
 * good where another context deletes the database, which would else come into being again.
 */
export class IndexedDbDatabase {
  private connection: Promise<IDBDatabase> | null = null;
  private isClosed = false;

  /** The open connection; the database and its stores are created where there are none. */
  connected(): Promise<IDBDatabase> {
    if (this.isClosed) return Promise.reject(new DOMException("the store is closed", "InvalidStateError"));
    if (this.connection !== null) return this.connection;
    const connection = connect();
    const forget = () => {
      if (this.connection === connection) this.connection = null;
    };
    this.connection = connection;
    connection.then((database) => {
      database.addEventListener("versionchange", ({ newVersion }) => {
        database.close();
        forget();
        if (newVersion === null) this.isClosed = true;
      });
      database.addEventListener("close", forget);
    }, forget);
    return connection;
  }

  /** Close for good; a transaction under way still ends by itself. */
  close(): void {
    this.isClosed = true;
    // A connection that could not be opened has told so whoever asked for it.
    this.connection?.then(
      (database) => database.close(),
      () => undefined,
    );
    this.connection = null;
  }

  /** Read in one transaction. `work` must await nothing but requests of the transaction. */
  read<T>(stores: readonly StoreName[], work: (transaction: IDBTransaction) => Promise<T>): Promise<T> {
    return this.transact(stores, "readonly", {}, work);
  }

  /** Write in one transaction: all of `work` is applied and stored, or nothing. `work` as for `read`. */
  write<T>(
    stores: readonly StoreName[],
    durability: Durability,
    work: (transaction: IDBTransaction) => Promise<T>,
  ): Promise<T> {
    return this.transact(stores, "readwrite", { durability }, work);
  }

  private async transact<T>(
    stores: readonly StoreName[],
    mode: IDBTransactionMode,
    options: IDBTransactionOptions,
    work: (transaction: IDBTransaction) => Promise<T>,
  ): Promise<T> {
    const database = await this.connected();
    const transaction = database.transaction([...stores], mode, options);
    const ended = new Promise<DOMException | null>((resolve) => {
      transaction.addEventListener("complete", () => resolve(null));
      transaction.addEventListener("abort", () => {
        resolve(transaction.error ?? new DOMException("the transaction was aborted", "AbortError"));
      });
    });
    let result: T;
    try {
      result = await work(transaction);
    } catch (error) {
      abort(transaction);
      const failure = await ended;
      // A request that fell with its transaction says no more than that; the transaction says why.
      throw error instanceof DOMException && error.name === "AbortError" ? (failure ?? error) : error;
    }
    const failure = await ended;
    if (failure !== null) throw failure;
    return result;
  }
}

async function connect(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, VERSION);
  request.addEventListener("upgradeneeded", () => createStores(request.result));
  return await answered(request);
}

/** Delete the database. Every open connection to it, in whatever page or worker, closes first. */
export async function deleteDatabase(): Promise<void> {
  await answered(indexedDB.deleteDatabase(DATABASE));
}

/** The result of a request, once it is there. */
export function answered<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}

/** Call `visit` with a cursor at each of its places; it moves the cursor on and returns true, or ends the walk by false. */
export function walk<Cursor extends IDBCursor>(
  request: IDBRequest<Cursor | null>,
  visit: (cursor: Cursor) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => {
      const cursor = request.result;
      try {
        if (cursor === null || !visit(cursor)) resolve();
      } catch (error) {
        reject(error);
      }
    });
    request.addEventListener("error", () => reject(request.error));
  });
}

function createStores(database: IDBDatabase): void {
  database.createObjectStore("keys");
  const journal = database.createObjectStore("journal", { keyPath: ["job_id", "lease"] });
  journal.createIndex("started_ms", "started_ms");
  journal.createIndex("outcome", "outcome");
  const outbox = database.createObjectStore("outbox", { keyPath: "place", autoIncrement: true });
  outbox.createIndex("lease", ["job_id", "lease"], { unique: true });
  outbox.createIndex("kind", "kind");
  database.createObjectStore("frames");
  database.createObjectStore("hours", { keyPath: "hour_ms" });
}

/** A transaction that a failed request or a lost connection has ended cannot be aborted again. */
function abort(transaction: IDBTransaction): void {
  try {
    transaction.abort();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "InvalidStateError")) throw error;
  }
}
