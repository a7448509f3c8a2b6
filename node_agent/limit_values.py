"""Reading the limits an owner types. Every wrong one is named at once, with what was expected."""

from collections.abc import Callable, Sequence

from node_agent.errors import SettingsInvalid
from node_agent.owner_rules import ALL_PURPOSES, Hours
from protocol import limits

NO_LIMIT = "none"
_LARGEST = 1 << 62


def read_limits(
    *,
    daily_bytes: str | None,
    daily_jobs: str | None,
    per_second: str | None,
    max_concurrent: str | None,
    hours: Sequence[str] | None,
    purposes: Sequence[str] | None,
) -> dict[str, object]:
    """Return the given limits by the names they are stored under; SettingsInvalid names every wrong one."""
    read: dict[str, object] = {}
    wrong: list[str] = []

    def take(name: str, given: object, reader: Callable[[], object]) -> None:
        if not given:
            return
        try:
            read[name] = reader()
        except ValueError as error:
            wrong.append(str(error))

    take("daily_bytes", daily_bytes, lambda: _whole("--daily-bytes", daily_bytes or "", 0, _LARGEST, or_none=True))
    take("daily_jobs", daily_jobs, lambda: _whole("--daily-jobs", daily_jobs or "", 0, _LARGEST, or_none=True))
    take("per_second", per_second, lambda: _rate(per_second or ""))
    most = limits.NODE_CONCURRENT_JOBS
    take("max_concurrent_jobs", max_concurrent, lambda: _whole("--max-concurrent", max_concurrent or "", 1, most))
    take("hours", hours, lambda: _hours(hours or ()))
    take("purposes", purposes, lambda: _purposes(purposes or ()))
    if wrong:
        raise SettingsInvalid("\n".join(wrong))
    return read


def _whole(option: str, text: str, least: int, most: int, *, or_none: bool = False) -> int | None:
    if or_none and text == NO_LIMIT:
        return None
    if text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most:
        return int(text[:20])
    alternative = f", or '{NO_LIMIT}'" if or_none else ""
    raise ValueError(f"{option}: a whole number from {least} to {most}{alternative}; got {text!r}")


def _rate(text: str) -> float | None:
    if text == NO_LIMIT:
        return None
    expected = f"--per-second: a number above 0, up to 1000, or '{NO_LIMIT}'; got {text!r}"
    try:
        rate = float(text)
    except ValueError as error:
        raise ValueError(expected) from error
    if not 0 < rate <= 1_000:
        raise ValueError(expected)
    return rate


def _hours(given: Sequence[str]) -> list[str]:
    return [] if list(given) == ["always"] else [str(Hours.parse(text)) for text in given]


def _purposes(given: Sequence[str]) -> list[str]:
    unknown = [name for name in given if name not in (*ALL_PURPOSES, "all")]
    if unknown:
        raise ValueError(f"--purpose: each is one of {', '.join(ALL_PURPOSES)}, or 'all'; got {unknown[0]!r}")
    return list(ALL_PURPOSES) if "all" in given else list(dict.fromkeys(given))
