"""Errors of the provenance room, split by whose fault they are.

::

    ProvenanceError
    ├── FormatError            text or bytes that do not follow their published format
    ├── VerificationError      evidence that does not hold
    ├── LogError               the record log cannot do what was asked
    │   ├── LogUnavailable     no usable answer from the log's folder or address
    │   └── LogConflict        a file of the log that never changes exists with other bytes
    ├── AuditInputError        what an auditor was given to check cannot be read at all
    ├── PayoutError            a payout that may not go out as asked
    │   ├── InsufficientFunds  the payer lacks SOL or tokens; nothing was sent
    │   └── IntentConflict     one key was already used to sign something else
    └── ChainError             the Solana side
        ├── ChainUnavailable   no usable answer from the RPC address: try again, or another address
        │   └── ChainLagging   the RPC server answers from a state older than one already seen
        ├── ChainRefused       the RPC server understood and refused
        ├── TransactionFailed  the transaction is on the chain and failed there
        ├── NotConfirmed       sent and stored, not seen on the chain in time; resume later
        └── ChainStoreError    the embedded chain cannot read or write its own file

Every message says what happened, to what, and what to do.
"""


class ProvenanceError(Exception):
    """Root of every error that this package raises on purpose."""


class FormatError(ProvenanceError):
    """Text or bytes that do not follow their published format."""


class VerificationError(ProvenanceError):
    """Evidence (a proof, a signature, a hash) that does not hold."""


class LogError(ProvenanceError):
    """The record log cannot do what was asked."""


class LogUnavailable(LogError):
    """No usable answer from the log's folder or address."""


class LogConflict(LogError):
    """A file of the log that never changes exists with other bytes; nothing was overwritten."""


class AuditInputError(ProvenanceError):
    """What an auditor was given to check (a path, a key, an address) cannot be read at all."""


class PayoutError(ProvenanceError):
    """A payout that may not go out as asked."""


class InsufficientFunds(PayoutError):
    """The payer lacks SOL or tokens; nothing was sent."""


class IntentConflict(PayoutError):
    """One idempotency key was already used to sign a different transaction."""


class ChainError(ProvenanceError):
    """Anything about the Solana side."""


class ChainUnavailable(ChainError):
    """No usable answer from the RPC address."""


class ChainLagging(ChainUnavailable):
    """The RPC server answers from a state older than one already seen."""


class ChainRefused(ChainError):
    """The RPC server understood the request and refused it.

    Attributes:
        code: the JSON-RPC error code.
        reason: the transaction error as the chain names it, when there is one (``"AlreadyProcessed"``).
        logs: program log lines of a failed simulation.
    """

    def __init__(self, message: str, *, code: int, reason: str | None = None, logs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.logs = logs


class TransactionFailed(ChainError):
    """The transaction was included in a block and failed there; its fee is spent."""


class NotConfirmed(ChainError):
    """Signed bytes are stored and sent, but were not seen on the chain in time."""


class ChainStoreError(ChainError):
    """The embedded chain cannot read or write its own file."""
