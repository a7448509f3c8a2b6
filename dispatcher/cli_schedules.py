"""The lab's commands about schedules and webhooks."""

from pathlib import Path
from typing import Annotated, get_args
from urllib.parse import urlencode

import msgspec
import typer
from rich.table import Table

from dispatcher import api_bodies as bodies
from dispatcher.adapters.answer_tables import facts_table, rows_table
from dispatcher.adapters.api_client import quoted
from dispatcher.adapters.schedule_api import Deleted, RunAnswer, ScheduleAnswer, SchedulesAnswer, ScheduleView
from dispatcher.adapters.webhook_api import DeliveriesView, Redelivered, SecretView
from dispatcher.cli_connection import ApiKey, ApiUrl, AsJson, ask_api, show
from dispatcher.schedules import Overlap, RequestKind

SCHEDULES = "/v1/schedules"
WEBHOOKS = "/v1/webhooks"
ScheduleId = Annotated[str, typer.Argument(help="The schedule's id.", show_default=False)]

schedule_app = typer.Typer(help="Have requests made again and again.", no_args_is_help=True)
webhook_app = typer.Typer(help="See what was sent to your webhooks.", no_args_is_help=True)


@schedule_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    *,
    cron: Annotated[str, typer.Option("--cron", help="Five fields, or words: 'every day at 09:30'.")],
    kind: Annotated[str, typer.Option("--kind", help=f"One of {', '.join(get_args(RequestKind))}.")],
    body: Annotated[str, typer.Option("--body", metavar="JSON|@FILE", help="What the request sends.")],
    timezone: Annotated[str | None, typer.Option("--timezone", help="As Europe/Berlin; UTC unless told.")] = None,
    overlap: Annotated[str | None, typer.Option("--overlap", help=f"One of {', '.join(get_args(Overlap))}.")] = None,
    webhook: Annotated[str | None, typer.Option("--webhook", help="Where its jobs' events go.")] = None,
    enabled: Annotated[bool, typer.Option("--enabled/--disabled", help="Begin at once, or not yet.")] = True,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule."""
    try:
        request = bodies.ScheduledRequest(
            kind=msgspec.convert(kind, RequestKind),
            body=msgspec.json.decode(_text(body), type=dict),
        )
        chosen = msgspec.convert(overlap, Overlap | None)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"--kind, --overlap or --body: {error}") from error
    sent = bodies.ScheduleBody(
        name=name,
        cron=cron,
        timezone=timezone,
        request=request,
        webhook=webhook,
        enabled=enabled,
        overlap=chosen,
    )
    answer = ask_api(lambda client: client.start(SCHEDULES, ScheduleAnswer, sent), api_url, api_key)
    show(answer, lambda: _schedule_table(answer.schedule), as_json=as_json)


@schedule_app.command("list")
def list_all(
    *,
    after: Annotated[str | None, typer.Option("--after", help="Those after the schedule of this id.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List schedules."""
    path = SCHEDULES if after is None else f"{SCHEDULES}?after={quoted(after)}"
    answer = ask_api(lambda client: client.ask("GET", path, SchedulesAnswer), api_url, api_key)
    rows = [
        (each.id, each.name, each.cron, each.enabled, each.next_runs[0] if each.next_runs else None)
        for each in answer.schedules
    ]
    more = f"More: meadow schedule list --after {answer.schedules[-1].id}" if isinstance(answer.next, str) else ""
    show(
        answer,
        lambda: rows_table(("schedule", "name", "when", "enabled", "next run"), rows),
        as_json=as_json,
        then=more,
    )


@schedule_app.command("show")
def show_one(schedule: ScheduleId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show a schedule with its next runs and its past ones."""
    path = f"{SCHEDULES}/{quoted(schedule)}"
    answer = ask_api(lambda client: client.ask("GET", path, ScheduleAnswer), api_url, api_key)
    show(answer, lambda: _schedule_table(answer.schedule), as_json=as_json)


@schedule_app.command("delete")
def delete(schedule: ScheduleId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Delete a schedule; its jobs stay."""
    path = f"{SCHEDULES}/{quoted(schedule)}"
    answer = ask_api(lambda client: client.ask("DELETE", path, Deleted), api_url, api_key)
    show(answer, lambda: facts_table((("deleted", answer.id),)), as_json=as_json)


@schedule_app.command("run")
def run(schedule: ScheduleId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Make its request now."""
    path = f"{SCHEDULES}/{quoted(schedule)}/run"
    answer = ask_api(lambda client: client.ask("POST", path, RunAnswer), api_url, api_key)
    made = answer.run
    facts = (("state", made.state), ("job", made.job), ("detail", made.detail), ("slot", made.slot))
    show(answer, lambda: facts_table(facts), as_json=as_json)


def _schedule_table(schedule: ScheduleView) -> Table:
    runs = schedule.runs if isinstance(schedule.runs, list) else []
    return facts_table(
        (
            ("schedule", schedule.id),
            ("name", schedule.name),
            ("when", schedule.cron),
            ("fields", f"{schedule.fields} ({schedule.timezone})"),
            ("request", f"{schedule.request.kind} {bytes(schedule.request.body).decode()}"),
            ("overlap", schedule.overlap),
            ("enabled", schedule.enabled),
            ("next runs", "  ".join(schedule.next_runs) or None),
            *(
                ("run", " ".join(str(part) for part in (each.slot, each.state, each.job, each.detail) if part))
                for each in runs
            ),
        )
    )


@webhook_app.command("secret")
def secret(
    *,
    rotate: Annotated[bool, typer.Option("--rotate", help="Take the next secret into use.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show the secret that your events are signed with."""
    method = "POST" if rotate else "GET"
    answer = ask_api(lambda client: client.ask(method, f"{WEBHOOKS}/secret", SecretView), api_url, api_key)
    facts = (
        ("secret", answer.secret),
        ("generation", answer.generation),
        ("rotated", answer.rotated_at),
        ("the one before signs until", answer.old_until),
    )
    show(answer, lambda: facts_table(facts), as_json=as_json)


@webhook_app.command("deliveries")
def deliveries(
    *,
    job: Annotated[str | None, typer.Option("--job", help="Of one job.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Those after the event of this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The most events.")] = 100,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List events with every attempt to deliver them."""
    chosen = {"job": job, "after": after, "limit": str(limit)}
    query = urlencode({name: value for name, value in chosen.items() if value is not None})
    answer = ask_api(
        lambda client: client.ask("GET", f"{WEBHOOKS}/deliveries?{query}", DeliveriesView), api_url, api_key
    )
    rows = [
        (each.id, each.event, each.job, each.host, each.state, len(each.attempts), each.created_at)
        for each in answer.deliveries
    ]
    more = f"More: meadow webhook deliveries --after {answer.deliveries[-1].id}" if isinstance(answer.next, str) else ""
    show(
        answer,
        lambda: rows_table(("delivery", "event", "job", "host", "state", "attempts", "made"), rows),
        as_json=as_json,
        then=more,
    )


@webhook_app.command("redeliver")
def redeliver(
    delivery: Annotated[str, typer.Argument(help="The delivery's id.", show_default=False)],
    *,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Deliver an event again, now."""
    path = f"{WEBHOOKS}/deliveries/{quoted(delivery)}/redeliver"
    answer = ask_api(lambda client: client.ask("POST", path, Redelivered), api_url, api_key)
    show(
        answer,
        lambda: facts_table((("delivery", answer.delivery.id), ("state", answer.delivery.state))),
        as_json=as_json,
    )


def _text(body: str) -> bytes:
    if not body.startswith("@"):
        return body.encode()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--body {body} cannot be read: {error.strerror}") from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(schedule_app, name="schedule")
    app.add_typer(webhook_app, name="webhook")
