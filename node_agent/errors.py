"""What can stop a node, by whose hand it is mended.

    NodeError                      the root; its text says what happened and what to do
    ├── SettingsInvalid            options or environment variables: all wrong values are named at once
    ├── ConsentMissing             nobody accepted what the program does
    ├── FolderError                the data folder
    │   ├── FolderBusy             another node runs with it
    │   ├── KeyFileUnsafe          the key can be read by other users, or is not a key
    │   ├── JournalFailed          the log cannot be read or written
    │   └── SpoolFailed            a result could not be written to disk
    └── DispatcherError            the other end of the session
        ├── DispatcherUnreachable  no connection, or it broke: tried again
        │   └── DispatcherBusy     it takes no more nodes now, and said when it may: tried again then
        ├── DispatcherRefused      it ended the session with an error, or broke the protocol: tried again
        └── DispatcherUntrusted    its root key or protocol version is not the expected one: not tried again

Refusals of jobs and failures of fetches are values (`node_agent.fetching`), not exceptions.
"""


class NodeError(Exception):
    """The root of everything this package raises. `exit_code` is what the command ends with."""

    exit_code = 1


class SettingsInvalid(NodeError):
    """One or more options or environment variables hold a wrong value."""

    exit_code = 2


class ConsentMissing(NodeError):
    """Nobody accepted what the program does, and nobody can be asked."""

    exit_code = 3


class FolderError(NodeError):
    """The data folder cannot be used."""

    exit_code = 4


class FolderBusy(FolderError):
    """Another node runs with this data folder."""


class KeyFileUnsafe(FolderError):
    """The key file can be read by other users, or holds no key."""


class JournalFailed(FolderError):
    """The log cannot be read or written; nothing is fetched that cannot be logged."""


class SpoolFailed(FolderError):
    """A result could not be written to disk; it is kept in memory."""


class DispatcherError(NodeError):
    """The session with the dispatcher ended."""

    exit_code = 5


class DispatcherUnreachable(DispatcherError):
    """No connection could be made, or it broke."""


class DispatcherBusy(DispatcherUnreachable):
    """The dispatcher takes no more nodes now; it asked to be dialled again after `retry_after_ms`."""

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class DispatcherRefused(DispatcherError):
    """The dispatcher ended the session with an error, or sent what the protocol does not admit."""


class DispatcherUntrusted(DispatcherError):
    """The dispatcher's root key is not the pinned one, or it speaks another protocol version."""
