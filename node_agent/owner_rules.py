"""What the owner allows: blocked domains, purposes, limits a day and a second, hours, pause.

Times of day are the owner's local time. A day begins at the owner's midnight.
"""

from dataclasses import dataclass
from typing import get_args

import ada_url

from protocol import limits
from protocol.job import Purpose
from protocol.messages import RefusalCode

ALL_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
DEFAULT_CONCURRENT_JOBS = 4
MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of local time in minutes since midnight, from `start` until before `end`; it may pass midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Read `HH:MM-HH:MM` or `HH-HH`; ValueError says what is expected."""
        first, separator, last = text.partition("-")
        if not separator:
            raise ValueError(f"hours are given as 22:00-07:00 or 22-7; got {text!r}")
        return cls(_minute(first, text) % MINUTES_A_DAY, _minute(last, text) % MINUTES_A_DAY)

    def __str__(self) -> str:
        return f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"

    def covers(self, minute: int) -> bool:
        """Tell whether a minute of the day lies in the span; equal ends mean the whole day."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def _minute(text: str, whole: str) -> int:
    hour, _, minute = text.strip().partition(":")
    minute = minute or "0"
    if hour.isdecimal() and minute.isdecimal():
        total = int(hour[:3]) * 60 + int(minute[:3])
        if int(minute[:3]) < 60 and total <= MINUTES_A_DAY:
            return total
    raise ValueError(f"hours are given as 22:00-07:00 or 22-7; got {whole!r}")


@dataclass(frozen=True, slots=True)
class OwnerRules:
    """The owner's word. None means no limit of that sort; empty `hours` means always."""

    paused: bool = False
    blocked_domains: frozenset[str] = frozenset()
    purposes: frozenset[Purpose] = frozenset(ALL_PURPOSES)
    hours: tuple[Hours, ...] = ()
    daily_bytes: int | None = None
    daily_jobs: int | None = None
    per_second: float | None = None
    max_concurrent_jobs: int = DEFAULT_CONCURRENT_JOBS


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in UTC milliseconds, with the owner's minute of the day and the start of the owner's day (UTC ms)."""

    now_ms: int
    minute: int
    day_start_ms: int


@dataclass(frozen=True, slots=True)
class UsageToday:
    """What was fetched since the owner's midnight: jobs begun, body bytes received."""

    jobs: int = 0
    wire_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Denial:
    """That the owner's rules say no, with the code for the dispatcher and words for people."""

    code: RefusalCode
    detail: str


def normalise_domain(text: str) -> str:
    """Bring a domain to the form URLs have it in (lower case, punycode); ValueError says what is expected."""
    bare = text.strip().removeprefix("*.").strip(".")
    try:
        hostname = ada_url.URL(f"http://{bare}/").hostname
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"a domain is a name as example.org; got {text[:200]!r}") from error
    if not bare or any(character in bare for character in "/@?#\\:") or not hostname:
        raise ValueError(f"a domain is a name as example.org, without scheme, port or path; got {text[:200]!r}")
    return hostname


def check_host(rules: OwnerRules, host: str) -> Denial | None:
    """Check a host against the blocked domains; subdomains are blocked with their domain."""
    labels = host.split(".")
    if any(".".join(labels[i:]) in rules.blocked_domains for i in range(len(labels))):
        return Denial(RefusalCode.BLOCKED_BY_OWNER, "the owner of this node blocked the domain")
    return None


def check_purpose(rules: OwnerRules, purpose: Purpose) -> Denial | None:
    """Check a job's declared purpose."""
    if purpose not in rules.purposes:
        return Denial(RefusalCode.PURPOSE_NOT_ALLOWED, f"the owner of this node does not lend it for {purpose}")
    return None


def check_moment(rules: OwnerRules, moment: Moment, usage: UsageToday) -> Denial | None:
    """Check whether the owner lets any job start now."""
    if rules.paused:
        return Denial(RefusalCode.PAUSED, "paused by the owner")
    if rules.hours and not any(hours.covers(moment.minute) for hours in rules.hours):
        return Denial(RefusalCode.OUTSIDE_SCHEDULE, "outside the hours the owner set")
    if rules.daily_jobs is not None and usage.jobs >= rules.daily_jobs:
        return Denial(RefusalCode.CAP_REACHED, "the owner's limit of jobs a day is reached")
    if rules.daily_bytes is not None and usage.wire_bytes >= rules.daily_bytes:
        return Denial(RefusalCode.CAP_REACHED, "the owner's limit of bytes a day is reached")
    return None


def available_jobs(rules: OwnerRules, moment: Moment, usage: UsageToday) -> tuple[int, str]:
    """Return how many jobs may be held now, and the reason where it is none."""
    denial = check_moment(rules, moment, usage)
    if denial is not None:
        return 0, denial.code.value
    return min(rules.max_concurrent_jobs, limits.NODE_CONCURRENT_JOBS), ""


class Pace:
    """Spaces fetches evenly to the owner's rate a second. Owned by one event loop."""

    def __init__(self) -> None:
        self._next_ms = 0.0

    def reserve(self, per_second: float | None, now_ms: int, *, longest_wait_ms: int) -> int | None:
        """Take the next slot and return the wait until it, in milliseconds; None where it lies too far ahead."""
        if per_second is None:
            return 0
        slot = max(float(now_ms), self._next_ms)
        if slot - now_ms > longest_wait_ms:
            return None
        self._next_ms = slot + 1000 / per_second
        return int(slot - now_ms)
