"""When a job is tried again."""

import pytest

from dispatcher.retry_policy import MAX_ATTEMPTS, MAX_DELAY_MS, delay_ms, is_final
from protocol.messages import PERMANENT_FAILURES, FailureCode


@pytest.mark.parametrize("reason", FailureCode)
def test_a_failure_is_final_by_its_kind_or_at_the_last_attempt(reason: FailureCode) -> None:
    assert is_final(reason, 1) is (reason in PERMANENT_FAILURES)
    assert is_final(reason, MAX_ATTEMPTS)


def test_delays_double_up_to_a_bound() -> None:
    assert [delay_ms(attempts, jitter=1.0) for attempts in range(4)] == [500, 1_000, 2_000, 4_000]
    assert delay_ms(3, jitter=0.0) == 2_000
    assert delay_ms(10**9, jitter=1.0) == MAX_DELAY_MS
