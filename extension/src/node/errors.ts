/**
 * What can go wrong at the other end of the session, by what the owner has to do about it.
 *
 *     DispatcherError            the root; its text says what happened and what to do
 *     ├── DispatcherUnreachable  no connection, or it broke: tried again
 *     ├── DispatcherRefused      it ended the session with an error, or broke the protocol: tried again
 *     ├── DispatcherUntrusted    its root key is not the one remembered: not tried again without the owner's word
 *     └── DispatcherNewer        it speaks a later protocol: an update of this extension is needed
 *
 * Refusals of jobs and failures of fetches are values (`fetching.ts`), not errors.
 */
export class DispatcherError extends Error {
  override readonly name: string = "DispatcherError";
}

export class DispatcherUnreachable extends DispatcherError {
  override readonly name = "DispatcherUnreachable";
}

/** `code` is that of the dispatcher's own error (PROTOCOL.md, section 7); empty where it sent none. */
export class DispatcherRefused extends DispatcherError {
  override readonly name = "DispatcherRefused";

  constructor(
    message: string,
    readonly code: string = "",
  ) {
    super(message);
  }
}

export class DispatcherUntrusted extends DispatcherError {
  override readonly name = "DispatcherUntrusted";
}

export class DispatcherNewer extends DispatcherError {
  override readonly name = "DispatcherNewer";
}
