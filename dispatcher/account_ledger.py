"""The ledger port's part about labs' accounts: their keys, prepaid credits, usage, the audit log, repeated requests."""

from typing import Final, Literal, Protocol, get_args

import msgspec

from dispatcher.jobs import ApiKey

EntryKind = Literal["purchase", "grant", "refund", "reserve", "release", "settle"]
AddedKind = Literal["purchase", "grant", "refund"]
ADDED_KINDS: Final[tuple[AddedKind, ...]] = get_args(AddedKind)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A team's prepaid credits. `balance` can be spent; `reserved` is held for jobs that have not ended; `added` is all
    that was ever added; `entries` is how many entries it has."""

    team_id: str
    balance: int
    reserved: int
    added: int
    entries: int
    created_ms: int


class CreditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a balance, never changed itself. `number` counts a team's entries from 1; `balance` is what the
    account had after it. `step` tells apart entries of one kind that belong to one batch."""

    team_id: str
    number: int
    kind: EntryKind
    amount: int
    balance: int
    batch_id: str | None
    step: str
    note: str
    created_ms: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What pages are taken in on: looked at, and taken, in the transaction that stores them.

    `max_concurrency` and `daily_credits` are the limits of the key `key_id`, None for no limit; `pages` count there.
    `credits` are reserved where the team has an account: all of them or, with `takes_less`, as many as it has, for one
    page at least. `step` tells apart what is reserved for one batch."""

    team_id: str
    key_id: str | None
    max_concurrency: int | None
    daily_credits: int | None
    pages: int
    credits: int
    takes_less: bool = False
    step: str
    now_ms: int

    @property
    def is_limited(self) -> bool:
        """Whether the key has a limit of its own."""
        return self.max_concurrency is not None or self.daily_credits is not None


class OpenSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """A batch whose pages from a position on are not settled yet."""

    batch_id: str
    team_id: str
    key_id: str | None
    from_position: int
    opened_ms: int


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a team's settled pages were, summed over what the row stands for. `wire_bytes` as they were carried."""

    label: str
    completed: int
    refused: int
    failed: int
    cancelled: int
    wire_bytes: int
    credits: int


UsageBy = Literal["day", "host", "key"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a team or a key has under way, in pages: `waiting` to be fetched or being fetched, of these `held` until
    their batch has room for them, `cleaning` once they are fetched. `unsettled` is the most that pages may still cost
    that are not settled, `spent` what settled pages of a day have cost, in credits."""

    waiting: int
    cleaning: int
    held: int
    unsettled: int
    spent: int

    @property
    def in_progress(self) -> int:
        """Pages that were let out and have not ended."""
        return self.waiting - self.held + self.cleaning


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what when with which key. `actor` is a key's id, or `operator`; `subject` the id of what it was done
    to."""

    entry_id: str
    team_id: str
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str = ""


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request with an idempotency key. `status` 0: the request is still being served."""

    team_id: str
    idempotency_key: str
    request_hash: str
    status: int
    body: bytes
    created_ms: int


class AccountKeyLedger(Protocol):
    """The keys of a team, beyond recognising them (`KeyLedger`)."""

    async def keys_of_team(self, team_id: str, *, after: str = "", limit: int = 100) -> list[ApiKey]:
        """A team's keys, ended ones too, by id; with `after` those behind that id."""
        ...

    async def key_of_team(self, team_id: str, key_id: str) -> ApiKey | None:
        """A key of a team; None for an unknown one, and for another team's."""
        ...

    async def rotate_key(self, old: ApiKey, new: ApiKey, *, until_ms: int) -> bool:
        """Store `new` in the place of `old`, which lives on until `until_ms`, or until its own end if that is sooner;
        False where `old` is revoked or was rotated already, then nothing is stored."""
        ...

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        """Note when a key was last used."""
        ...


class PrepaidLedger(Protocol):
    """Prepaid credits: accounts and their entries.

    A balance is never negative and always the sum of the account's entries. What a batch may cost is reserved in the
    transaction that stores its pages (`Terms`). Of one batch there is one entry of each kind and step."""

    async def add_credits(self, team_id: str, amount: int, *, kind: AddedKind, note: str, now_ms: int) -> Account:
        """Add credits to a team's account, which is opened with its first ones."""
        ...

    async def account(self, team_id: str) -> Account | None:
        """A team's account; None where it has none: its use is not limited."""
        ...

    async def credit_entries(self, team_id: str, *, before: int | None = None, limit: int = 100) -> list[CreditEntry]:
        """A team's entries, newest first; with `before` those of a smaller number."""
        ...


class SettlementLedger(Protocol):
    """What ended batches have cost, and usage by day, host and key."""

    async def open_settlements(self, *, after: str = "", limit: int = 500) -> list[OpenSettlement]:
        """Batches all of whose jobs have ended and whose crawl, if they are one, is over, that are not settled; by
        id."""
        ...

    async def settle_batch(self, batch_id: str, *, now_ms: int) -> bool:
        """Count a batch's pages, charge the completed ones and give the rest of its reservation back, in one
        transaction; False where it is settled already or has not ended."""
        ...

    async def usage(self, team_id: str, *, first_day: int, last_day: int, by: UsageBy, limit: int) -> list[UsageRow]:
        """A team's usage on days, counted from 1970-01-01 in UTC, both included; by label."""
        ...

    async def key_standing(self, team_id: str, key_id: str, *, day: int) -> Standing:
        """What a key has under way, and has spent on a day."""
        ...

    async def team_standing(self, team_id: str) -> Standing:
        """The same of a team; `spent` is 0."""
        ...

    async def refuse_over_budget(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Refuse the jobs that are left of batches whose budget is used up, free of charge: reason `budget_reached`;
        the batches."""
        ...

    async def newest_success(self, team_id: str) -> int | None:
        """When a page of a team last came, as far as its batches are settled; None before the first."""
        ...


class AuditLogLedger(Protocol):
    """The audit log: appended to, never changed."""

    async def note_action(self, entry: AuditEntry) -> None:
        """Append an entry."""
        ...

    async def audit_log(self, team_id: str, *, before: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """A team's entries, newest first; with `before` those older than that id."""
        ...


class AnswerLedger(Protocol):
    """Answers to requests with an idempotency key, to be given again."""

    async def is_key_taken(self, team_id: str, idempotency_key: str) -> bool:
        """Tell whether a batch was submitted, or added to, with an idempotency key."""
        ...

    async def claim_answer(self, claim: StoredAnswer, *, stale_before_ms: int) -> StoredAnswer | None:
        """Take a key for a request that begins: None. Where it is taken already: what stands there. A claim without an
        answer from before `stale_before_ms` is taken over: whoever made it has ended."""
        ...

    async def keep_answer(self, answer: StoredAnswer) -> None:
        """Keep the answer of a claimed request."""
        ...

    async def drop_answer(self, team_id: str, idempotency_key: str) -> None:
        """Give a claimed key free again: the request changed nothing."""
        ...

    async def forget_answers(self, before_ms: int, limit: int = 1_000) -> int:
        """Forget answers from before a moment; how many."""
        ...


class AccountLedger(AccountKeyLedger, PrepaidLedger, SettlementLedger, AuditLogLedger, AnswerLedger, Protocol):
    """All that the ledger keeps of labs' accounts."""


def day_of(time_ms: int) -> int:
    """The day a moment is in, counted from 1970-01-01 in UTC."""
    return time_ms // 86_400_000
