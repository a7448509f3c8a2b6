"""What a team is told of its account: the answers to the routes of `lab_accounts_api`."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.account_ledger import AuditEntry, CreditEntry, EntryKind, UsageRow
from dispatcher.lab_documents import timestamp

UNLIMITED: Final = 2**53 - 1
"""What is said in the place of a number where there is no limit: the largest that every JSON reader keeps exact."""


class ConcurrencyAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to `GET /v2/concurrency-check`: pages let out that have not ended, and the most there may be."""

    success: bool = True
    concurrency: int
    max_concurrency: int


class CreditUsage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A team's credits. `plan_credits` are all that were ever added. Credits are prepaid: there is no billing period.
    `is_unlimited` is true for a team without an account; then both numbers are the largest there is."""

    remaining_credits: int
    plan_credits: int
    reserved_credits: int
    is_unlimited: bool
    billing_period_start: str | None = None
    billing_period_end: str | None = None


class CreditUsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/team/credit-usage`."""

    success: bool = True
    data: CreditUsage


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Tokens of models are not sold here: there are none to use and none are charged."""

    remaining_tokens: int = 0
    plan_tokens: int = 0
    billing_period_start: str | None = None
    billing_period_end: str | None = None


class TokenUsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/team/token-usage`."""

    success: bool = True
    data: TokenUsage = TokenUsage()


class CreditPeriod(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Credits used in a calendar month of UTC; `api_key` is the id of the key, where it is asked for by key."""

    start_date: str
    end_date: str
    api_key: str | UnsetType = UNSET
    credits_used: int


class CreditHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/team/credit-usage/historical`: months with usage, oldest first."""

    success: bool = True
    periods: list[CreditPeriod]


class TokenHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/team/token-usage/historical`: no tokens were ever used."""

    success: bool = True
    periods: tuple[CreditPeriod, ...] = ()


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to `GET /v2/team/queue-status`. Active pages were let out, waiting ones are held until their job has
    room for them. `most_recent_success` is RFC 3339, null before the first settled page."""

    success: bool = True
    jobs_in_queue: int
    active_jobs_in_queue: int
    waiting_jobs_in_queue: int
    max_concurrency: int
    most_recent_success: str | None


class UsageLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Settled pages of one day, host or key. Bytes as the sites sent them."""

    label: str
    completed: int
    refused: int
    failed: int
    cancelled: int
    bytes: int
    credits: int


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/usage`, for days from `from` to `to`, both included, in UTC. With `truncated` there were
    more than a thousand lines: ask for fewer days."""

    success: bool = True
    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")
    by: str
    data: list[UsageLine]
    truncated: bool


class EntryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry of an account. `amount` changed the balance to `balance`; `job` is the batch or crawl it is about."""

    number: int
    kind: EntryKind
    amount: int
    balance: int
    job: str | UnsetType = UNSET
    note: str | UnsetType = UNSET
    at: str


class EntryList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/credits`."""

    success: bool = True
    data: list[EntryView]
    next: str | UnsetType = UNSET


class ActionView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log. `actor` is a key's id, or `operator`; `subject` the id of what it was done to."""

    id: str
    at: str
    actor: str
    action: str
    subject: str
    detail: str


class ActionList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/audit-log`."""

    success: bool = True
    data: list[ActionView]
    next: str | UnsetType = UNSET


def entry_view(entry: CreditEntry) -> EntryView:
    """Show an entry of an account."""
    return EntryView(
        number=entry.number,
        kind=entry.kind,
        amount=entry.amount,
        balance=entry.balance,
        job=entry.batch_id or UNSET,
        note=entry.note or UNSET,
        at=timestamp(entry.created_ms),
    )


def usage_line(row: UsageRow) -> UsageLine:
    """Show what was used."""
    return UsageLine(
        label=row.label,
        completed=row.completed,
        refused=row.refused,
        failed=row.failed,
        cancelled=row.cancelled,
        bytes=row.wire_bytes,
        credits=row.credits,
    )


def action_view(entry: AuditEntry) -> ActionView:
    """Show an entry of the audit log."""
    return ActionView(
        id=entry.entry_id,
        at=timestamp(entry.at_ms),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )
