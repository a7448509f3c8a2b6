"""What a team has and uses, over HTTP: credits, pages under way, usage, the audit log, and prices beforehand.

GET  /v2/concurrency-check              pages in progress, and how many there may be
GET  /v2/team/credit-usage              credits that are left
GET  /v2/team/credit-usage/historical   credits used by month
GET  /v2/team/token-usage               the same of tokens, which are not sold here
GET  /v2/team/token-usage/historical
GET  /v2/team/queue-status              pages that wait and pages in progress
GET  /v1/usage                          pages and credits by day, host or key
GET  /v1/credits                        the entries of the team's account, newest first
GET  /v1/audit-log                      who did what when with which key, newest first
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from aiohttp import web
from msgspec import UNSET

from dispatcher.account_ledger import (
    AuditLogLedger,
    PrepaidLedger,
    SettlementLedger,
    UsageBy,
    day_of,
)
from dispatcher.account_views import (
    UNLIMITED,
    ActionList,
    ConcurrencyAnswer,
    CreditHistory,
    CreditPeriod,
    CreditUsage,
    CreditUsageAnswer,
    EntryList,
    QueueStatus,
    TokenHistory,
    TokenUsageAnswer,
    UsageAnswer,
    action_view,
    entry_view,
    usage_line,
)
from dispatcher.adapters.lab_auth import caller_of
from dispatcher.adapters.lab_errors import json_answer
from dispatcher.adapters.lab_queries import known_query, whole_query, word_query
from dispatcher.caller import Caller
from dispatcher.errors import BadRequest
from dispatcher.lab_documents import timestamp
from dispatcher.lab_service import LabService
from protocol.ids import is_uuid7

MAX_ROWS = 1_000
MAX_DAYS = 366
_USAGE_BY: tuple[UsageBy, ...] = ("day", "host", "key")
_EPOCH = date(1970, 1, 1)


class AccountsLedger(PrepaidLedger, SettlementLedger, AuditLogLedger, Protocol):
    """The parts of the ledger that this needs."""


class AccountsApi:
    """The routes about a team's account."""

    def __init__(
        self,
        service: LabService,
        ledger: AccountsLedger,
        *,
        clock: Callable[[], int],
        base_url: Callable[[web.Request], str],
    ) -> None:
        self._service, self._ledger, self._clock, self._base_url = service, ledger, clock, base_url

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.get("/v2/concurrency-check", self.concurrency),
            web.get("/v2/team/credit-usage", self.credit_usage),
            web.get("/v2/team/credit-usage/historical", self.credit_history),
            web.get("/v2/team/token-usage", self.token_usage),
            web.get("/v2/team/token-usage/historical", self.token_history),
            web.get("/v2/team/queue-status", self.queue_status),
            web.get("/v1/usage", self.usage),
            web.get("/v1/credits", self.credits),
            web.get("/v1/audit-log", self.audit_log),
        ]

    async def concurrency(self, request: web.Request) -> web.Response:
        """Say how many pages of this key are in progress; of the team where the key has no limit of its own."""
        caller = await caller_of(request, self._service)
        most = caller.limits.max_concurrency
        if most is None:
            standing = await self._ledger.team_standing(caller.team_id)
        else:
            standing = await self._ledger.key_standing(caller.team_id, caller.key_id, day=day_of(self._clock()))
        return json_answer(ConcurrencyAnswer(concurrency=standing.in_progress, max_concurrency=_most(caller)))

    async def credit_usage(self, request: web.Request) -> web.Response:
        """Say how many credits are left."""
        caller = await caller_of(request, self._service)
        account = await self._ledger.account(caller.team_id)
        if account is None:
            usage = CreditUsage(
                remaining_credits=UNLIMITED, plan_credits=UNLIMITED, reserved_credits=0, is_unlimited=True
            )
        else:
            usage = CreditUsage(
                remaining_credits=account.balance,
                plan_credits=account.added,
                reserved_credits=account.reserved,
                is_unlimited=False,
            )
        return json_answer(CreditUsageAnswer(data=usage))

    async def credit_history(self, request: web.Request) -> web.Response:
        """Say how many credits were used by month."""
        caller = await caller_of(request, self._service)
        by_key = word_query(request, "byApiKey", "false", ("true", "false")) == "true"
        today = day_of(self._clock())
        periods: list[CreditPeriod] = []
        for start, end in _months(_date(today - MAX_DAYS), _date(today)):
            rows = await self._ledger.usage(
                caller.team_id, first_day=_day(start), last_day=_day(end), by="key", limit=MAX_ROWS
            )
            if by_key:
                periods += [_period(start, end, row.credits, row.label) for row in rows]
            elif rows:
                periods.append(_period(start, end, sum(row.credits for row in rows)))
        return json_answer(CreditHistory(periods=periods))

    async def token_usage(self, request: web.Request) -> web.Response:
        """Say that no tokens are sold."""
        await caller_of(request, self._service)
        return json_answer(TokenUsageAnswer())

    async def token_history(self, request: web.Request) -> web.Response:
        """Say that no tokens were used."""
        await caller_of(request, self._service)
        return json_answer(TokenHistory())

    async def queue_status(self, request: web.Request) -> web.Response:
        """Say how many pages of the team wait and are in progress."""
        caller = await caller_of(request, self._service)
        standing = await self._ledger.team_standing(caller.team_id)
        newest_ms = await self._ledger.newest_success(caller.team_id)
        return json_answer(
            QueueStatus(
                jobs_in_queue=standing.waiting + standing.cleaning,
                active_jobs_in_queue=standing.in_progress,
                waiting_jobs_in_queue=standing.held,
                max_concurrency=_most(caller),
                most_recent_success=None if newest_ms is None else timestamp(newest_ms),
            )
        )

    async def usage(self, request: web.Request) -> web.Response:
        """Say what was used by day, host or key."""
        caller = await caller_of(request, self._service)
        known_query(request, "from", "to", "by")
        today = day_of(self._clock())
        last = _date_query(request, "to", today)
        first = _date_query(request, "from", last - 29)
        if not 0 <= last - first < MAX_DAYS:
            raise BadRequest(
                f"from: got {_date(first)} with to {_date(last)}, accepts a day at most {MAX_DAYS - 1} days before"
            )
        asked = word_query(request, "by", "day", _USAGE_BY)
        by = next(known for known in _USAGE_BY if known == asked)
        rows = await self._ledger.usage(caller.team_id, first_day=first, last_day=last, by=by, limit=MAX_ROWS + 1)
        return json_answer(
            UsageAnswer(
                first=_date(first).isoformat(),
                last=_date(last).isoformat(),
                by=by,
                data=[usage_line(row) for row in rows[:MAX_ROWS]],
                truncated=len(rows) > MAX_ROWS,
            )
        )

    async def credits(self, request: web.Request) -> web.Response:
        """List the entries of the team's account."""
        caller = await caller_of(request, self._service)
        known_query(request, "before", "limit")
        limit = whole_query(request, "limit", 100, low=1, high=100)
        before = whole_query(request, "before", UNLIMITED, low=1, high=UNLIMITED)
        found = await self._ledger.credit_entries(caller.team_id, before=before, limit=limit + 1)
        shown = found[:limit]
        address = f"{self._base_url(request)}/v1/credits?limit={limit}&before="
        return json_answer(
            EntryList(
                data=[entry_view(entry) for entry in shown],
                next=f"{address}{shown[-1].number}" if found[limit:] else UNSET,
            )
        )

    async def audit_log(self, request: web.Request) -> web.Response:
        """List who did what when with which key."""
        caller = await caller_of(request, self._service)
        known_query(request, "before", "limit")
        limit = whole_query(request, "limit", 100, low=1, high=100)
        before = request.query.get("before")
        if before is not None and not is_uuid7(before):
            raise BadRequest(f"before: got {before[:80]!r}, accepts the id of an entry")
        found = await self._ledger.audit_log(caller.team_id, before=before, limit=limit + 1)
        shown = found[:limit]
        address = f"{self._base_url(request)}/v1/audit-log?limit={limit}&before="
        return json_answer(
            ActionList(
                data=[action_view(entry) for entry in shown],
                next=f"{address}{shown[-1].entry_id}" if found[limit:] else UNSET,
            )
        )


def _most(caller: Caller) -> int:
    most = caller.limits.max_concurrency
    return UNLIMITED if most is None else most


def _period(start: date, end: date, used: int, key_id: str | None = None) -> CreditPeriod:
    return CreditPeriod(
        start_date=datetime(start.year, start.month, start.day, tzinfo=UTC).isoformat(),
        end_date=datetime(end.year, end.month, end.day, tzinfo=UTC).isoformat(),
        api_key=UNSET if key_id is None else key_id,
        credits_used=used,
    )


def _months(first: date, last: date) -> list[tuple[date, date]]:
    """The calendar months from one day to another, each by its first and its last day."""
    months: list[tuple[date, date]] = []
    start = first.replace(day=1)
    while start <= last:
        after = (start + timedelta(days=31)).replace(day=1)
        months.append((start, after - timedelta(days=1)))
        start = after
    return months


def _date_query(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return _day(date.fromisoformat(text))
    except ValueError as error:
        raise BadRequest(f"{name}: got {text[:40]!r}, accepts a day of UTC: 2031-05-06") from error


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _day(moment: date) -> int:
    return (moment - _EPOCH).days
