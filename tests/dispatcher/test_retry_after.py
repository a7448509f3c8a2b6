"""Retry-After as servers write it."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.retry_after import DEFAULT_BACK_OFF_MS, MAX_RETRY_AFTER_MS, retry_after_ms

NOW_MS = 1_780_000_000_000


def http_date(at_ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_ms / 1000, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("120", 120_000),
        (" 7 ", 7_000),
        ("0", 1_000),
        ("99999999999999999999", MAX_RETRY_AFTER_MS),
        (http_date(NOW_MS + 90_000), 90_000),
        (http_date(NOW_MS - 90_000), 1_000),
        (http_date(NOW_MS + 10**10), MAX_RETRY_AFTER_MS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_MS),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 1_000),
        (None, DEFAULT_BACK_OFF_MS),
        ("", DEFAULT_BACK_OFF_MS),
        ("soon", DEFAULT_BACK_OFF_MS),
        ("-5", DEFAULT_BACK_OFF_MS),
        ("1.5", DEFAULT_BACK_OFF_MS),
        ("１２０", DEFAULT_BACK_OFF_MS),
        ("²", DEFAULT_BACK_OFF_MS),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 1_000),
        ("Mon, 99 Jan 2026 99:99:99 GMT", DEFAULT_BACK_OFF_MS),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999", None),
    ],
)
def test_a_delay_or_a_date_within_bounds(value: str | None, expected_ms: int | None) -> None:
    delay_ms = retry_after_ms(value, now_ms=NOW_MS)
    assert 1_000 <= delay_ms <= MAX_RETRY_AFTER_MS
    if expected_ms is not None:
        assert delay_ms == expected_ms


_PARTS = st.sampled_from(
    ["Mon,", "31", "Feb", "2026", "99999", "0", "12:34:56", "::", "GMT", "+9999", "-0000", ",", "-"]
)


@settings(max_examples=500, deadline=None)
@given(value=st.one_of(st.text(max_size=60), st.lists(_PARTS, max_size=8).map(" ".join)))
def test_no_header_raises(value: str) -> None:
    assert 1_000 <= retry_after_ms(value, now_ms=NOW_MS) <= MAX_RETRY_AFTER_MS
