"""When a job is tried again."""

from dispatcher.retry_policy import MAX_DELAY_MS, delay_ms


def test_delays_double_up_to_a_bound() -> None:
    assert [delay_ms(attempts, jitter=1.0) for attempts in range(4)] == [500, 1_000, 2_000, 4_000]
    assert delay_ms(3, jitter=0.0) == 2_000
    assert delay_ms(10**9, jitter=1.0) == MAX_DELAY_MS
