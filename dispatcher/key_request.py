"""What a lab says of a key it wants: JSON to a typed wish, or a rejection with its reasons."""

import difflib
from datetime import UTC, datetime
from typing import Final, get_args

import msgspec

from dispatcher.key_scopes import LAB_SCOPES, SCOPES, Scope
from dispatcher.request_fields import JsonObject, Problem, Rejected, is_whole, read_object, rejected, shown
from protocol.job import Purpose

MAX_NAME: Final = 200
MAX_RATE: Final = 1_000_000
MAX_PAGES: Final = 10_000_000
MAX_CREDITS: Final = 10**12
GRACE_S: Final = 86_400
MAX_GRACE_S: Final = 30 * 86_400
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
_FIELDS: Final = ("name", "scopes", "expiresAt", "purpose", "ratePerMinute", "maxConcurrency", "dailyCredits")


class KeyWish(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be made; as `ApiKey`."""

    name: str = ""
    scopes: tuple[Scope, ...] = LAB_SCOPES
    expires_ms: int | None = None
    purpose: Purpose | None = None
    rate_per_minute: int | None = None
    max_concurrency: int | None = None
    daily_credits: int | None = None


def decode_key(body: bytes, *, now_ms: int) -> KeyWish | Rejected:
    """Decode the body of `POST /v1/keys`."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems = unknown_fields(fields, _FIELDS)
    name = fields.get("name", "")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        problems.append(Problem("name", shown(name), f"a string of at most {MAX_NAME} characters"))
    scopes = _scopes(fields, problems)
    expires_ms = _moment(fields, problems, now_ms)
    purpose = next((known for known in PURPOSES if known == fields.get("purpose")), None)
    if "purpose" in fields and purpose is None:
        problems.append(Problem("purpose", shown(fields["purpose"]), " or ".join(PURPOSES)))
    rate = whole(fields, "ratePerMinute", 1, MAX_RATE, problems)
    pages = whole(fields, "maxConcurrency", 1, MAX_PAGES, problems)
    credits_a_day = whole(fields, "dailyCredits", 0, MAX_CREDITS, problems)
    if problems:
        return rejected(problems)
    return KeyWish(
        name=str(name),
        scopes=scopes,
        expires_ms=expires_ms,
        purpose=purpose,
        rate_per_minute=rate,
        max_concurrency=pages,
        daily_credits=credits_a_day,
    )


def decode_grace(body: bytes) -> int | Rejected:
    """Decode the body of `POST /v1/keys/{id}/rotate`, which may be empty: how long the old key lives on, in seconds."""
    if not body.strip():
        return GRACE_S
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems = unknown_fields(fields, ("graceSeconds",))
    grace_s = whole(fields, "graceSeconds", 0, MAX_GRACE_S, problems)
    if problems:
        return rejected(problems)
    return GRACE_S if grace_s is None else grace_s


def unknown_fields(fields: JsonObject, known: tuple[str, ...]) -> list[Problem]:
    """A problem for each field that there is not, with a hint where a known one is near."""
    problems: list[Problem] = []
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            problems.append(Problem(name[:100], shown(fields[name]), "nothing", hint))
    return problems


def whole(fields: JsonObject, name: str, low: int, high: int, problems: list[Problem]) -> int | None:
    """Read a whole number within bounds; None where the field is absent, or wrong, which is noted."""
    value = fields.get(name)
    if value is None:
        return None
    if is_whole(value, low, high) and isinstance(value, int):
        return value
    problems.append(Problem(name, shown(value), f"a whole number from {low} to {high}"))
    return None


def _scopes(fields: JsonObject, problems: list[Problem]) -> tuple[Scope, ...]:
    named = fields.get("scopes")
    if named is None:
        return LAB_SCOPES
    accepts = f"a list of {' or '.join(SCOPES)}"
    if not isinstance(named, list) or not named:
        problems.append(Problem("scopes", shown(named), accepts))
        return LAB_SCOPES
    for place, scope in enumerate(named):
        if scope not in SCOPES:
            problems.append(Problem(f"scopes[{place}]", shown(scope), " or ".join(SCOPES)))
    return tuple(scope for scope in SCOPES if scope in named)


def _moment(fields: JsonObject, problems: list[Problem], now_ms: int) -> int | None:
    value = fields.get("expiresAt")
    if value is None:
        return None
    moment_ms = read_moment(value) if isinstance(value, str) else None
    if moment_ms is None or moment_ms <= now_ms:
        reason = None if moment_ms is None else "that moment has passed"
        problems.append(
            Problem(
                "expiresAt", shown(value), "a moment to come as RFC 3339 with a time zone: 2031-05-06T07:08:09Z", reason
            )
        )
    return moment_ms


def read_moment(text: str) -> int | None:
    """Read a moment as RFC 3339 with a time zone, as UTC milliseconds; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
