"""When something is to be done again and again: five fields of cron in a time zone, or plain words for them.

Fields are minute, hour, day of the month, month and day of the week, with names (`mon`, `jan`), lists, ranges and
steps. Where clocks change, times are Debian cron's: what is asked for at a fixed time that is left out happens right
after it, what is asked for at one that comes twice happens once, and what is asked for every so many minutes or hours
goes on at the same pace. Moments are UTC milliseconds.
"""

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from dispatcher.request_fields import JsonValue, Problem, shown

EXAMPLES: Final = (
    "five fields of cron, as '30 9 * * mon-fri', or words: 'every five minutes', 'every hour', 'every 6 hours',"
    " 'every day at 09:30', 'every weekday at 9am', 'every monday and thursday at 8:00', 'every month on the 1st at"
    " noon'"
)
_ZONES: Final = "the name of a time zone of the IANA database, as 'Europe/Berlin' or 'UTC'"
_MAX_CHARACTERS = 200
_LAST_YEAR = 2200
_FIELDS = 5
_FIELD = re.compile(r"[A-Za-z0-9*,/#-]+")
_NUMBERS: Final = {
    "other": 2,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "eight": 8,
    "ten": 10,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
}
_SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "monthly": "0 0 1 * *",
}
_DAYS: Final = {
    name: short
    for short, names in {
        "sun": "sun sunday sundays",
        "mon": "mon monday mondays",
        "tue": "tue tuesday tuesdays",
        "wed": "wed wednesday wednesdays",
        "thu": "thu thursday thursdays",
        "fri": "fri friday fridays",
        "sat": "sat saturday saturdays",
    }.items()
    for name in names.split()
}
_PACE = re.compile(r"(?:(\S+) )?(minute|hour|day)s?(?: at (.+))?")
_ON_DAYS = re.compile(r"(.+?)(?: at (.+))?")
_MONTHLY = re.compile(r"month(?: on the ([0-9]{1,2})(?:st|nd|rd|th)?)?(?: at (.+))?")
_TIME = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?\s*(am|pm)?")


class Recurrence(msgspec.Struct, frozen=True):
    """When: five fields of cron, in a time zone."""

    cron: str
    timezone: str


def read_recurrence(when: JsonValue, timezone: JsonValue) -> Recurrence | list[Problem]:
    """Read when a lab wants something, or say what is wrong with it."""
    problems: list[Problem] = []
    zone = timezone if isinstance(timezone, str) else ""
    if not _is_zone(zone):
        problems.append(Problem("timezone", "nothing" if timezone is None else shown(timezone), _ZONES))
    cron = _cron_of(when) if isinstance(when, str) and len(when) <= _MAX_CHARACTERS else "not a text that can be read"
    if not isinstance(cron, _Cron):
        problems.append(Problem("cron", "nothing" if when is None else shown(when), EXAMPLES, cron))
        return problems
    return problems or Recurrence(cron.fields, zone)


def moments_after(recurrence: Recurrence, after_ms: int, count: int) -> list[int]:
    """List the next moments after one, at most `count`; none where there is no more."""
    zone = ZoneInfo(recurrence.timezone)
    begun = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(zone)
    found: list[int] = []
    last_ms = after_ms
    for moment in CronSim(recurrence.cron, begun):
        if len(found) == count or moment.year > _LAST_YEAR:
            break
        moment_ms = int(moment.timestamp() * 1000)
        # A time that is left out and the one right after it are the same moment.
        if moment_ms > last_ms:
            found.append(moment_ms)
            last_ms = moment_ms
    return found


class _Cron(msgspec.Struct, frozen=True):
    fields: str


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return bool(name)


def _cron_of(text: str) -> _Cron | str:
    """Five fields of a text, or why there are none."""
    words = " ".join(text.lower().split())
    if (short := _SHORTHANDS.get(words)) is not None:
        return _Cron(short)
    if words.startswith("every "):
        return _of_words(words.removeprefix("every "))
    fields = words.split(" ")
    if len(fields) != _FIELDS:
        return f"cron has {_FIELDS} fields, this has {len(fields)}"
    if not all(_FIELD.fullmatch(field) for field in fields):
        return "a field of cron holds numbers, names and * , - / #"
    try:
        simulated = CronSim(words, datetime(2026, 1, 1, tzinfo=UTC))
        next(simulated)
    except CronSimError as error:
        return str(error).lower()
    except StopIteration:
        return "no such day ever comes"
    return _Cron(words)


def _of_words(words: str) -> _Cron | str:
    if (pace := _PACE.fullmatch(words)) is not None:
        return _at_pace(pace[1], pace[2], pace[3])
    if (monthly := _MONTHLY.fullmatch(words)) is not None:
        day = int(monthly[1] or 1)
        if not 1 <= day <= 28:
            return "not every month has that day: the 1st to the 28th"
        return _at_times(monthly[2], f"{day} * *")
    on_days = _ON_DAYS.fullmatch(words)
    assert on_days is not None
    names = re.split(r",? and |, ?| ", on_days[1])
    if names in (["weekday"], ["weekdays"]):
        return _at_times(on_days[2], "* * mon-fri")
    if names in (["week"], ["weekend"]):
        return _at_times(on_days[2], "* * sun" if names == ["week"] else "* * sat,sun")
    unknown = [name for name in names if name not in _DAYS]
    if unknown:
        return f"{unknown[0][:40]!r} is not known"
    return _at_times(on_days[2], f"* * {','.join(dict.fromkeys(_DAYS[name] for name in names))}")


def _at_pace(written: str | None, unit: str, times: str | None) -> _Cron | str:
    number = 1 if written is None else _NUMBERS.get(written, int(written) if written.isdecimal() else 0)
    if unit == "day":
        return _at_times(times, "* * *") if number == 1 else "days are counted one by one: 'every day'"
    if times is not None:
        return f"every {unit} and at a time are two things"
    whole = 60 if unit == "minute" else 24
    if not 1 <= number <= whole or whole % number:
        divisors = ", ".join(str(part) for part in range(1, whole + 1) if whole % part == 0)
        return f"so many {unit}s do not fit in {'an hour' if unit == 'minute' else 'a day'}: {divisors}"
    if unit == "minute":
        return _Cron("0 * * * *" if number == whole else f"*/{number} * * * *" if number > 1 else "* * * * *")
    return _Cron("0 0 * * *" if number == whole else f"0 */{number} * * *" if number > 1 else "0 * * * *")


def _at_times(text: str | None, days: str) -> _Cron | str:
    if text is None:
        return _Cron(f"0 0 {days}")
    if text in {"noon", "midnight"}:
        return _Cron(f"0 {12 if text == 'noon' else 0} {days}")
    time = _TIME.fullmatch(text)
    if time is None:
        return f"{text[:40]!r} is no time of day"
    hour, minute, half = int(time[1]), int(time[2] or 0), time[3]
    if half is not None:
        if not 1 <= hour <= 12:
            return f"{text[:40]!r} is no time of day"
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        return f"{text[:40]!r} is no time of day"
    return _Cron(f"{minute} {hour} {days}")
