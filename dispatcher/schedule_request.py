"""Labs' requests to make or change a schedule: JSON to a typed request, or everything that is wrong with it.

    {"name": "news", "cron": "every day at 09:30", "timezone": "Europe/Berlin",
     "request": {"kind": "batch_scrape", "body": {"urls": [...]}}, "webhook": URL, "enabled": true, "overlap": "skip"}

`body` is what the kind's own address takes; `webhook` goes into it. A request that is to be repeated is checked when
the schedule is made, and again each time.
"""

import difflib
from collections.abc import Callable
from typing import Final

import msgspec

from dispatcher.recurrence import Recurrence, read_recurrence
from dispatcher.request_fields import JsonObject, JsonValue, Problem, Rejected, read_object, rejected, shown
from dispatcher.schedules import OVERLAPS, REQUEST_KINDS, Overlap, RequestKind

NAME_CHARACTERS: Final = 200
BODY_BYTES: Final = 1024 * 1024
_FIELDS: Final = ("name", "cron", "timezone", "request", "webhook", "enabled", "overlap")
_REQUEST = f"an object with kind ({' or '.join(REQUEST_KINDS)}) and body"

Check = Callable[[RequestKind, bytes], Rejected | None]


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab asks of a schedule; None is what it does not name. `body` is a request's JSON."""

    name: str | None = None
    written: str | None = None
    recurrence: Recurrence | None = None
    kind: RequestKind | None = None
    body: str | None = None
    is_enabled: bool | None = None
    overlap: Overlap | None = None


class Standing(msgspec.Struct, frozen=True):
    """What a schedule that is changed has: when, in which time zone, and what for."""

    written: str
    timezone: str
    kind: RequestKind
    body: str


def decode_schedule(body: bytes, *, check: Check, standing: Standing | None = None) -> ScheduleRequest | Rejected:
    """Decode the body of `POST /v1/schedules`, or with `standing` of a change of that schedule.

    `check` says what is wrong with a request that is to be made.
    """
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems: list[Problem] = []
    for unknown in fields.keys() - set(_FIELDS):
        near = difflib.get_close_matches(unknown, _FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"a schedule has {', '.join(_FIELDS)}"
        problems.append(Problem(unknown[:100], shown(fields[unknown]), "nothing", hint))
    name = fields.get("name")
    if (name is not None or standing is None) and not _is_name(name):
        got = "nothing" if name is None else shown(name)
        problems.append(Problem("name", got, f"a text of 1 to {NAME_CHARACTERS} characters"))
    recurrence = _recurrence(fields, standing, problems)
    kind, request = _request(fields, standing, check, problems)
    enabled, overlap = fields.get("enabled"), fields.get("overlap")
    if enabled is not None and not isinstance(enabled, bool):
        problems.append(Problem("enabled", shown(enabled), "true or false"))
    if overlap is not None and overlap not in OVERLAPS:
        problems.append(Problem("overlap", shown(overlap), " or ".join(OVERLAPS)))
    if problems:
        return rejected(problems)
    written = fields.get("cron")
    return ScheduleRequest(
        name=name if isinstance(name, str) else None,
        written=written if isinstance(written, str) else None,
        recurrence=recurrence,
        kind=kind,
        body=request,
        is_enabled=enabled if isinstance(enabled, bool) else None,
        overlap=next((known for known in OVERLAPS if known == overlap), None),
    )


def _is_name(value: JsonValue) -> bool:
    return isinstance(value, str) and len(value.strip()) > 0 and len(value) <= NAME_CHARACTERS


def _recurrence(fields: JsonObject, standing: Standing | None, problems: list[Problem]) -> Recurrence | None:
    if standing is not None and not fields.keys() & {"cron", "timezone"}:
        return None
    cron = fields.get("cron", standing.written if standing else None)
    timezone = fields.get("timezone", standing.timezone if standing else "UTC")
    read = read_recurrence(cron, timezone)
    if isinstance(read, Recurrence):
        return read
    problems += read
    return None


def _request(
    fields: JsonObject, standing: Standing | None, check: Check, problems: list[Problem]
) -> tuple[RequestKind | None, str | None]:
    if standing is not None and not fields.keys() & {"request", "webhook"}:
        return None, None
    request: JsonValue = fields.get("request")
    if standing is not None and request is None:
        request = {"kind": standing.kind, "body": msgspec.json.decode(standing.body)}
    if not isinstance(request, dict):
        problems.append(Problem("request", "nothing" if request is None else shown(request), _REQUEST))
        return None, None
    found = len(problems)
    for name in request.keys() - {"kind", "body"}:
        problems.append(Problem(f"request.{name[:100]}", shown(request[name]), "nothing", _REQUEST))
    kind = next((known for known in REQUEST_KINDS if known == request.get("kind")), None)
    if kind is None:
        got = shown(request["kind"]) if "kind" in request else "nothing"
        problems.append(Problem("request.kind", got, " or ".join(REQUEST_KINDS)))
    body = request.get("body")
    if not isinstance(body, dict):
        got = shown(body) if "body" in request else "nothing"
        problems.append(Problem("request.body", got, "the JSON object that the kind's own address takes"))
    if kind is None or not isinstance(body, dict) or len(problems) > found:
        return None, None
    return kind, _checked(kind, body, fields, check, problems)


def _checked(
    kind: RequestKind, body: JsonObject, fields: JsonObject, check: Check, problems: list[Problem]
) -> str | None:
    webhook = fields.get("webhook")
    if webhook is not None:
        if kind == "scrape":
            problems.append(Problem("webhook", shown(webhook), "nothing", "a scrape has no webhook; use batch_scrape"))
            return None
        body = {**body, "webhook": webhook}
    encoded = msgspec.json.encode(body)
    if len(encoded) > BODY_BYTES:
        problems.append(Problem("request.body", f"{len(encoded)} bytes", f"at most {BODY_BYTES} bytes"))
        return None
    refused = check(kind, encoded)
    if refused is None:
        return encoded.decode()
    inside = [
        msgspec.structs.replace(problem, field=_place(problem.field, has_own=webhook is not None))
        for problem in refused.problems
    ]
    problems += inside or [Problem("request.body", shown(body), "a request that can be made", refused.message)]
    return None


def _place(field: str, *, has_own: bool) -> str:
    is_own = has_own and (field == "webhook" or field.startswith("webhook."))
    return field if is_own else f"request.body.{field}"
