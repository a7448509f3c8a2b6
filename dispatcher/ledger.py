"""The ledger port: the truth about batches, jobs, results, credits, the record log, anchors and payouts.

Every method that writes returns only after its transaction is durable. Methods that settle something are idempotent:
the second call changes nothing and says so. One transaction covers all a method does, except where said otherwise.

Reads see committed data only. Every method raises LedgerError where the database fails, and LedgerFull where the disk
is full: then nothing of the write is kept, and the same call succeeds once there is space. A caller that is cancelled
while it waits does not undo its write.

The port is composed of one protocol per concern, so that a caller can ask for no more than it needs.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from dispatcher.account_ledger import AccountLedger, Terms
from dispatcher.batch_following import EndedJobsLedger
from dispatcher.batch_growth import GrowthLedger
from dispatcher.conduct import LeaseEnd, NodeConduct
from dispatcher.crawl_ledger import CrawlLedger
from dispatcher.dataset_ledger import DatasetLedger
from dispatcher.jobs import ApiKey, Batch, BatchCounts, Credit, Job, Result
from dispatcher.log_coverage import CoverageLedger
from dispatcher.page_ledger import PageLedger
from dispatcher.pruning import PruningLedger
from dispatcher.robots_evidence import RobotsUsageLedger
from dispatcher.schedules import ScheduleLedger
from dispatcher.webhook_ledger import WebhookLedger


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log: its index and its bytes (a signed statement)."""

    index: int
    statement: bytes


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a result brought: `stored` with its log index and reward, or `duplicate`/`stale` where nothing changed.

    `duplicate`: this very record is stored already (its index and reward are repeated). `stale`: the job has another
    result or has ended otherwise.
    """

    outcome: Literal["stored", "duplicate", "stale"]
    log_index: int | None = None
    reward: int = 0


class NewResult(msgspec.Struct, frozen=True, kw_only=True):
    """A verified result to store: the ledger gives it the next log index and credits `reward` to `wallet`.

    `dropped` is the reason why no document will be kept of the page, where that is known already: its job is then
    completed with its result. None leaves the job fetched, to be cleaned.
    """

    job_id: str
    node_key: str
    wallet: str
    record: bytes
    body_hash: str
    body_bytes: int
    wire_bytes: int
    robots_hash: str | None
    stored_ms: int
    reward: int
    hold_until_ms: int
    dropped: str | None = None


class StoredCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that was signed: one per size, ever. `note` is its signed-note text."""

    size: int
    root: bytes
    note: str
    created_ms: int
    anchor_sequence: int
    anchor_signature: str | None = None


class SignedTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A Solana transaction whose bytes were stored before they were sent. `purpose` is unique: `anchor/7`.

    `intent` is a hash of what the transaction does, whatever its blockhash. `attempt` counts from 1: the next one is
    signed only after the previous one can no longer be included. It cannot be on the chain before `signed_slot`;
    `confirmed_slot` is where it was seen.
    """

    purpose: str
    signature: str
    raw: bytes
    last_valid_block_height: int
    state: Literal["signed", "confirmed", "expired"]
    created_ms: int
    intent: bytes = b""
    attempt: int = 1
    signed_slot: int = 0
    confirmed_slot: int | None = None


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A payout epoch: its statement's bytes, and whether every payout transaction of it is confirmed."""

    number: int
    statement: bytes
    total: int
    created_ms: int
    paid_ms: int | None = None


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A node that introduced itself."""

    node_key: str
    wallet: str
    agent: str
    first_seen_ms: int
    last_seen_ms: int


class NodeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a node earned so far, in base units, by the state of its credits."""

    results: int
    pending: int
    confirmed: int
    void: int
    paid: int


class Leadership(msgspec.Struct, frozen=True, kw_only=True):
    """The right to do a periodic duty, until `expires_ms`. `token` grows each time the duty changes hands or is taken
    anew after it ran out, and fences every write made in its name."""

    duty: str
    holder: str
    token: int
    expires_ms: int


ObjectKind = Literal["body", "document", "picture"]


class ContentRef(msgspec.Struct, frozen=True, kw_only=True):
    """What a job keeps in the object store: the names of its body, its document and the document's picture, where it
    has them. A picture has its document's name; it may be named where there is none."""

    job_id: str
    body_name: str | None
    document_name: str | None
    picture_name: str | None = None


class KeyLedger(Protocol):
    """Labs' API keys."""

    async def add_key(self, key: ApiKey) -> None:
        """Store a key; LedgerError where its id or its MAC is stored already."""
        ...

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """The keys, revoked ones too, that start with a prefix: the candidates an offered key is compared with."""
        ...

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        """Revoke a key; False where it is unknown or revoked already."""
        ...


class JobLedger(Protocol):
    """Batches and their jobs."""

    async def submit(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Batch:
        """Store a batch with its jobs. A repeated idempotency key of the same team with the same `request_hash`
        returns the batch stored first; with another hash it raises IdempotencyConflict.

        With `terms` the batch gets the window that its key has room for, its jobs beyond are held, and what it may
        cost is reserved; PaymentRequired, ConcurrencyReached or DailyBudgetReached where that cannot be. A repeat is
        not looked at."""
        ...

    async def batch(self, batch_id: str) -> Batch | None:
        """A batch; None where there is none of that id."""
        ...

    async def counts(self, batch_id: str) -> BatchCounts:
        """How many jobs of a batch are in each state, in constant time; all zero for an unknown batch."""
        ...

    async def job_counts(self) -> BatchCounts:
        """How many jobs of all batches together are in each state."""
        ...

    async def jobs_of(self, batch_id: str, *, from_position: int = 0, limit: int = 100) -> list[Job]:
        """Jobs of a batch whose position is `from_position` or greater, by position."""
        ...

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """The jobs of these ids, by id; unknown ids are left out."""
        ...

    async def job_options(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """The batches of these ids, with the options their jobs are fetched by; unknown ids are left out."""
        ...

    async def unfinished(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """Jobs in state queued, by id: what a frontier is rebuilt from."""
        ...

    async def fetched(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """Jobs in state fetched, by id: pages that wait for cleaning."""
        ...

    async def overdue(self, now_ms: int, limit: int = 1000) -> list[Job]:
        """Queued jobs whose deadline has passed (`deadline_ms <= now_ms`), the longest overdue first."""
        ...

    async def dead_letters(
        self, *, team_id: str | None = None, before_ms: int | None = None, limit: int = 100
    ) -> list[Job]:
        """Jobs in state failed, of one team or of all, newest first; with `before_ms` those that failed before it."""
        ...

    async def recent_jobs(self, limit: int) -> list[Job]:
        """Of the jobs that were submitted, were fetched or failed last, those that changed last, newest first."""
        ...

    async def cancel(self, batch_id: str, now_ms: int) -> list[str] | None:
        """Cancel every queued job of a batch; their ids. None where the batch had ended already or is unknown.
        A fetched job is not cancelled: it is completed, as it was paid for."""
        ...

    async def complete(self, job_id: str, *, document_hash: str | None, dropped: str | None, now_ms: int) -> bool:
        """A fetched job becomes completed, with its document or the reason why none was kept; False where it is not
        in state fetched."""
        ...

    async def refuse(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """A queued job becomes refused, free of charge; False where it is not queued."""
        ...

    async def fail(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """A queued job becomes failed; False where it is not queued."""
        ...

    async def note_attempt(
        self, job_id: str, *, reason: str, detail: str, now_ms: int, end: LeaseEnd | None = None
    ) -> int:
        """Count an attempt that brought no result; the number of attempts so far. A job that is not queued is left as
        it is. 0 for an unknown job.

        `end` counts for the conduct of the node that held the lease. An end of the same lease again changes nothing."""
        ...


class ResultLedger(Protocol):
    """Results, each with its log entry and its credit."""

    async def store_result(self, result: NewResult) -> Settlement:
        """Result, credit and log entry in one transaction; job to fetched, or to completed where the result says why
        nothing of it is kept (`dropped`). See Settlement. A reward of 0 makes no credit. An unknown job is `stale`."""
        ...

    async def results(self, job_ids: Sequence[str]) -> dict[str, Result]:
        """The results of these jobs; jobs without one are left out."""
        ...


class LogLedger(Protocol):
    """The record log: entries with gapless indexes from 0, and the checkpoints over them."""

    async def append_entry(self, statement: bytes) -> int:
        """Append a statement that is not a result (a dataset statement); its index. Idempotent by its bytes."""
        ...

    async def log_size(self) -> int:
        """How many entries the log has: the next index."""
        ...

    async def entries(self, start: int, end: int) -> list[LedgerEntry]:
        """Entries with start <= index < end, by index; fewer where the log ends sooner."""
        ...

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The checkpoint of the greatest size; None before the first."""
        ...

    async def newest_anchored(self) -> StoredCheckpoint | None:
        """The largest checkpoint that is anchored."""
        ...

    async def add_checkpoint(
        self, checkpoint: StoredCheckpoint, *, previous_size: int, fence: Leadership | None = None
    ) -> bool:
        """Store a checkpoint if the newest one still has `previous_size` (0 for none); False otherwise, and False
        where the new one is not larger. LeadershipLost where `fence` is not the current leadership of its duty."""
        ...

    async def unanchored(self) -> list[StoredCheckpoint]:
        """Checkpoints without an anchor, by size."""
        ...

    async def set_anchor(self, size: int, signature: str) -> None:
        """Note the confirmed transaction that anchors the checkpoint of a size. LedgerError where there is no such
        checkpoint, or where it is anchored by another transaction."""
        ...


class CreditLedger(Protocol):
    """Credits, payout epochs and what nodes earned."""

    async def confirm_credits(self, now_ms: int) -> int:
        """Confirm pending credits whose hold has passed (`hold_until_ms <= now_ms`); how many. A long queue of them is
        confirmed in several transactions."""
        ...

    async def confirmed_credits(self, *, below_log_index: int, limit: int) -> list[Credit]:
        """Confirmed credits that are in no epoch yet, with `log_index < below_log_index`, by log index."""
        ...

    async def open_epoch(self, epoch: Epoch, job_ids: Sequence[str], *, fence: Leadership | None = None) -> bool:
        """Store an epoch and put these confirmed credits in it; False if the number is taken or a credit is not free.
        LedgerError where the credits do not add up to `epoch.total`; LeadershipLost as for `add_checkpoint`."""
        ...

    async def unpaid_epochs(self) -> list[Epoch]:
        """Epochs with payouts that are not confirmed yet, by number."""
        ...

    async def epochs(self) -> list[Epoch]:
        """All epochs, by number."""
        ...

    async def newest_epoch(self) -> Epoch | None:
        """The epoch with the highest number."""
        ...

    async def mark_epoch_paid(self, number: int, now_ms: int) -> None:
        """The epoch and its credits become paid; nothing changes where they are."""
        ...

    async def credits_of(self, job_ids: Sequence[str]) -> dict[str, Credit]:
        """The credits of these jobs; jobs without one are left out."""
        ...

    async def node_totals(self, node_key: str) -> NodeTotals:
        """What a node earned, in constant time; all zero for an unknown node."""
        ...

    async def credit_total(self) -> NodeTotals:
        """The same over all nodes."""
        ...


class TransactionLedger(Protocol):
    """Solana transactions that were signed and stored before they were sent."""

    async def put_transaction(self, transaction: SignedTransaction) -> bool:
        """Store a signed transaction; False if its purpose has one that is not expired. An attempt takes the place of
        the signed one just before it (`attempt` one less), which expires in the same write."""
        ...

    async def transaction(self, purpose: str) -> SignedTransaction | None:
        """The transaction of a purpose: the one that is not expired, else the one that expired last; None where there
        never was one."""
        ...

    async def set_transaction_state(
        self, signature: str, state: Literal["confirmed", "expired"], *, slot: int | None = None
    ) -> None:
        """Note what became of a signed transaction, and at which slot it was seen. Nothing changes where it has ended
        so already. LedgerError where the signature is unknown, or where the transaction has ended the other way."""
        ...

    async def unconfirmed_transactions(self) -> list[SignedTransaction]:
        """Transactions in state signed, the oldest purpose first."""
        ...


class ConductLedger(Protocol):
    """What is counted of each node's conduct, each count in the transaction of the result or attempt it counts."""

    async def conducts(self, node_keys: Sequence[str]) -> dict[str, NodeConduct]:
        """The conduct of these nodes; nodes that the ledger knows nothing of are left out."""
        ...


class LeaderLedger(Protocol):
    """Who does the duties that one dispatcher at a time may do, and what all dispatchers of a network agree on."""

    async def lead(self, duty: str, *, holder: str, now_ms: int, lease_ms: int) -> Leadership | None:
        """Take a duty, or keep it for `lease_ms` more; None while another holder's lease runs.

        The same holder keeps its token while its lease has not run out. Times are the caller's: a clock that is ahead
        takes a duty too early, which the fence makes harmless, and a lease that ends more than a minute later than one
        taken now would is void: the clock that wrote it was wrong."""
        ...

    async def resign(self, leadership: Leadership) -> None:
        """Give a duty up before its lease ends; nothing changes where it has passed to another already."""
        ...

    async def agree(self, facts: Mapping[str, str]) -> dict[str, str]:
        """Store facts all dispatchers of a network must share (public keys, chain, object store), each where it has no
        value yet; the values that stand, for the names given."""
        ...


class ContentLedger(Protocol):
    """How long page bodies and documents are kept, and which of the object store's objects are still wanted.

    A batch is kept for `Batch.retain_ms` after each of its jobs has ended (None: for ever). Records, results, credits
    and the log are kept for ever: they hold no content."""

    async def set_retention(self, team_id: str, retain_ms: int | None) -> None:
        """Set how long the content of a team's batches is kept, from the next submission on."""
        ...

    async def retention(self, team_id: str) -> int | None:
        """How long the content of a team's batches is kept: None for ever, which is also the default."""
        ...

    async def expired_content(self, now_ms: int, limit: int = 500) -> list[ContentRef]:
        """Jobs whose content is to be deleted now, the longest overdue first."""
        ...

    async def forget_content(self, job_ids: Sequence[str], now_ms: int) -> None:
        """Note that these jobs have no content any more: `Job.content_deleted_ms`."""
        ...

    async def wanted_objects(self, kind: ObjectKind, names: Sequence[str]) -> set[str]:
        """Those of these objects that a job whose content is kept refers to. A body's name is `HASH.ENCODING`."""
        ...


class NodeLedger(Protocol):
    """The nodes that introduced themselves."""

    async def node_seen(self, node: NodeSeen) -> None:
        """Store a node, or what is new about it; `first_seen_ms` is kept as stored first."""
        ...


class Ledger(
    KeyLedger,
    AccountLedger,
    JobLedger,
    ResultLedger,
    LogLedger,
    CreditLedger,
    TransactionLedger,
    ConductLedger,
    LeaderLedger,
    ContentLedger,
    NodeLedger,
    EndedJobsLedger,
    WebhookLedger,
    ScheduleLedger,
    GrowthLedger,
    CrawlLedger,
    CoverageLedger,
    DatasetLedger,
    RobotsUsageLedger,
    PageLedger,
    PruningLedger,
    Protocol,
):
    """The whole port. Implementations live in `adapters/` and pass one contract suite."""

    async def close(self) -> None:
        """Finish the writes in hand and let go of the database."""
        ...
