"""The lab's commands about its account: what was used, its credits, its queue."""

import enum
from typing import Annotated
from urllib.parse import urlencode

import msgspec
import typer

from dispatcher import account_views as views
from dispatcher.adapters.answer_tables import facts_table, rows_table
from dispatcher.adapters.api_client import ApiClient
from dispatcher.cli_connection import ApiKey, ApiUrl, AsJson, ask_api, show


class UsageBy(enum.StrEnum):
    """What a line of usage is about."""

    DAY = "day"
    HOST = "host"
    KEY = "key"


class CreditsShown(msgspec.Struct, frozen=True, kw_only=True):
    """What `meadow credits --json` prints: the credits, and the newest entries of the account."""

    credits: views.CreditUsage
    entries: list[views.EntryView]


def usage(
    *,
    by: Annotated[UsageBy, typer.Option("--by", help="A line for each day, host or key.")] = UsageBy.DAY,
    from_: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day, in UTC.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day, in UTC.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what was read, by day, host or key."""
    chosen = {"by": by.value, "from": from_, "to": to}
    query = urlencode({name: value for name, value in chosen.items() if value is not None})
    answer = ask_api(lambda client: client.ask("GET", f"/v1/usage?{query}", views.UsageAnswer), api_url, api_key)
    columns = (by.value, "completed", "refused", "failed", "cancelled", "bytes", "credits")
    rows = [
        (line.label, line.completed, line.refused, line.failed, line.cancelled, line.bytes, line.credits)
        for line in answer.data
    ]
    words = f"From {answer.first} to {answer.last}."
    more = " There is more: ask for fewer days." if answer.truncated else ""
    show(answer, lambda: rows_table(columns, rows), as_json=as_json, then=words + more)


def credits_(
    *,
    entries: Annotated[int, typer.Option("--entries", min=1, max=100, help="The most entries of the account.")] = 20,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show your credits and the newest entries of your account."""

    async def work(client: ApiClient) -> CreditsShown:
        answer = await client.ask("GET", "/v2/team/credit-usage", views.CreditUsageAnswer)
        listed = await client.ask("GET", f"/v1/credits?limit={entries}", views.EntryList)
        return CreditsShown(credits=answer.data, entries=listed.data)

    shown = ask_api(work, api_url, api_key)
    data = shown.credits
    columns = ("#", "kind", "amount", "balance", "job", "note", "at")
    rows = [
        (entry.number, entry.kind, entry.amount, entry.balance, entry.job, entry.note, entry.at)
        for entry in shown.entries
    ]
    words = (
        "There is no limit to your credits."
        if data.is_unlimited
        else f"{data.remaining_credits} credits are left, {data.reserved_credits} more are held for jobs that run."
    )
    show(shown, lambda: rows_table(columns, rows), as_json=as_json, then=words)


def queue(*, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show how many of your pages wait or are being read."""
    answer = ask_api(lambda client: client.ask("GET", "/v2/team/queue-status", views.QueueStatus), api_url, api_key)
    facts = (
        ("pages", answer.jobs_in_queue),
        ("let out", answer.active_jobs_in_queue),
        ("held back", answer.waiting_jobs_in_queue),
        ("most at once", None if answer.max_concurrency == views.UNLIMITED else answer.max_concurrency),
        ("last success", answer.most_recent_success),
    )
    show(answer, lambda: facts_table(facts), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("usage")(usage)
    app.command("credits")(credits_)
    app.command("queue")(queue)
