"""When a schedule runs: cron and plain words, in time zones whose clocks change."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.recurrence import Recurrence, moments_after, read_recurrence
from dispatcher.request_fields import Problem


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def moments(cron: str, zone: str, after: str, count: int) -> list[str]:
    read = read_recurrence(cron, zone)
    assert isinstance(read, Recurrence), read
    found = moments_after(read, ms(after), count)
    return [datetime.fromtimestamp(moment / 1000, ZoneInfo(zone)).strftime("%m-%d %H:%M %Z") for moment in found]


@pytest.mark.parametrize(
    ("words", "cron"),
    [
        ("every minute", "* * * * *"),
        ("every five minutes", "*/5 * * * *"),
        ("Every  15 Minutes", "*/15 * * * *"),
        ("every hour", "0 * * * *"),
        ("every 60 minutes", "0 * * * *"),
        ("every other hour", "0 */2 * * *"),
        ("every 6 hours", "0 */6 * * *"),
        ("every day", "0 0 * * *"),
        ("every day at 09:30", "30 9 * * *"),
        ("every day at 9", "0 9 * * *"),
        ("every day at 9:05 pm", "5 21 * * *"),
        ("every day at 12am", "0 0 * * *"),
        ("every day at noon", "0 12 * * *"),
        ("every monday at 8:00", "0 8 * * mon"),
        ("every monday and thursday at 8:00", "0 8 * * mon,thu"),
        ("every mon, wed and fri at 18.15", "15 18 * * mon,wed,fri"),
        ("every weekday at 7am", "0 7 * * mon-fri"),
        ("every weekend", "0 0 * * sat,sun"),
        ("every week", "0 0 * * sun"),
        ("every month", "0 0 1 * *"),
        ("every month on the 15th at 10:00", "0 10 15 * *"),
        ("daily", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("30 9 * jan-mar MON-FRI", "30 9 * jan-mar mon-fri"),
        ("0 0 1,15 * *", "0 0 1,15 * *"),
    ],
)
def test_words_and_fields_are_read(words: str, cron: str) -> None:
    assert read_recurrence(words, "UTC") == Recurrence(cron, "UTC")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (None, "not a text"),
        (7, "not a text"),
        ("x" * 300, "not a text"),
        ("", "this has 1"),
        ("* * * *", "this has 4"),
        ("* * * * * *", "this has 6"),
        ("61 * * * *", "bad minute"),
        ("* * * foo *", "bad month"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day"),
        ("0 0 ? * *", "a field of cron holds"),
        ("every 7 minutes", "do not fit in an hour"),
        ("every 5 hours", "do not fit in a day"),
        ("every zero minutes", "do not fit"),
        ("every 3 days", "one by one"),
        ("every five minutes at 9", "two things"),
        ("every blue moon", "'blue' is not known"),
        ("every day at 25:00", "no time of day"),
        ("every day at 13pm", "no time of day"),
        ("every day at tea", "no time of day"),
        ("every month on the 31st", "not every month"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(words: str | int | None, reason: str) -> None:
    problems = read_recurrence(words, "UTC")
    assert isinstance(problems, list)
    (problem,) = problems
    assert problem.field == "cron"
    assert reason in (problem.reason or "")
    assert "every day at 09:30" in problem.accepts


@pytest.mark.parametrize("zone", [None, 7, "", "Mars/Phobos", "../etc/passwd", "Europe", "+01:00", "Europe/Berlin\0"])
def test_a_time_zone_is_one_of_the_database(zone: str | int | None) -> None:
    problems = read_recurrence("every day", zone)
    assert isinstance(problems, list)
    assert [problem.field for problem in problems] == ["timezone"]
    both = read_recurrence("nonsense", zone)
    assert isinstance(both, list)
    assert [problem.field for problem in both] == ["timezone", "cron"]


def test_a_time_that_the_clocks_leave_out_comes_right_after_and_once() -> None:
    # Berlin, 29 March 2026: 02:00 becomes 03:00.
    assert moments("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00+01:00", 4) == [
        "03-28 02:30 CET",
        "03-29 03:00 CEST",
        "03-30 02:30 CEST",
        "03-31 02:30 CEST",
    ]
    assert moments("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", 3) == [
        "03-29 03:00 CEST",
        "03-30 02:00 CEST",
        "03-30 03:00 CEST",
    ]


def test_a_time_that_comes_twice_happens_once() -> None:
    # Berlin, 25 October 2026: 03:00 becomes 02:00.
    assert moments("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", 3) == [
        "10-25 02:30 CEST",
        "10-26 02:30 CET",
        "10-27 02:30 CET",
    ]


def test_a_pace_goes_on_through_both_changes() -> None:
    for begun in ("2026-03-29T00:00+01:00", "2026-10-25T00:00+02:00"):
        for cron, step_ms in (("every 30 minutes", 1_800_000), ("every hour", 3_600_000)):
            read = read_recurrence(cron, "Europe/Berlin")
            assert isinstance(read, Recurrence)
            found = moments_after(read, ms(begun), 12)
            assert [after - before for before, after in pairwise(found)] == [step_ms] * 11


def test_zones_differ_and_days_of_month_and_week_are_either_or() -> None:
    assert moments("0 9 * * *", "Asia/Kathmandu", "2026-01-01T00:00+00:00", 1) == ["01-01 09:00 +0545"]
    read = read_recurrence("every day at 09:00", "Asia/Kathmandu")
    assert isinstance(read, Recurrence)
    assert moments_after(read, ms("2026-01-01T00:00+00:00"), 1) == [ms("2026-01-01T03:15+00:00")]
    assert moments("0 0 13 * fri", "UTC", "2026-02-01T00:00+00:00", 4) == [
        "02-06 00:00 UTC",
        "02-13 00:00 UTC",
        "02-20 00:00 UTC",
        "02-27 00:00 UTC",
    ]
    assert moments("0 0 29 2 *", "UTC", "2026-03-01T00:00+00:00", 1) == ["02-29 00:00 UTC"]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="0123456789*,/-#L ", max_size=40),
        st.lists(
            st.sampled_from(["*", "*/5", "1-5", "mon", "jan", "0", "31", "2", "5#5", "1,2", "L", "LW", "5L", "9-1"]),
            min_size=5,
            max_size=5,
        ).map(" ".join),
        st.lists(
            st.sampled_from(
                [
                    "every",
                    "day",
                    "at",
                    "hour",
                    "minutes",
                    "monday",
                    "and",
                    "five",
                    "9:30",
                    "pm",
                    "month",
                    "on",
                    "the",
                    "1st",
                    "week",
                    "0",
                    "7",
                ]
            ),
            max_size=7,
        ).map(" ".join),
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York"]),
)
def test_anything_is_read_or_refused_and_moments_only_go_forward(text: str, zone: str) -> None:
    read = read_recurrence(text, zone)
    if not isinstance(read, Recurrence):
        assert all(isinstance(problem, Problem) for problem in read)
        return
    after_ms = ms("2026-03-28T11:07:31+00:00")
    found = moments_after(read, after_ms, 4)
    assert found == sorted(set(found))
    assert all(moment > after_ms and moment % 60_000 == 0 for moment in found)
