"""The time of the network while one of its clocks jumps."""

from dataclasses import dataclass

import pytest

from dispatcher.steady_clock import SteadyClock

T0, HOUR_MS = 1_760_000_000_000, 3_600_000


@dataclass
class Machine:
    """A machine that has run for `ran_ms`; its wall clock is off by `off_ms`, the network's by `network_off_ms`."""

    ran_ms: float = 5_000.0
    off_ms: float = 0.0
    network_off_ms: float = 0.0
    slept_ms: float = 0.0

    def wall_ms(self) -> float:
        return T0 + self.ran_ms + self.slept_ms + self.off_ms

    @property
    def right_ms(self) -> float:
        return T0 + self.ran_ms + self.slept_ms

    def hear(self, clock: SteadyClock) -> None:
        network_ms = self.right_ms + self.network_off_ms
        clock.heard(network_ms, asked_ms=self.ran_ms - 1, answered_ms=self.ran_ms + 1)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> SteadyClock:
    return SteadyClock(machine.wall_ms, lambda: machine.ran_ms)


def test_without_a_network_the_wall_clock_is_the_time(machine: Machine, clock: SteadyClock) -> None:
    assert clock.now_ms() == machine.right_ms
    machine.off_ms = HOUR_MS
    assert clock.now_ms() == machine.right_ms + HOUR_MS


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, -2_000, 2_000, HOUR_MS])
def test_a_wall_clock_that_jumps_alone_changes_nothing(machine: Machine, clock: SteadyClock, jump_ms: int) -> None:
    machine.hear(clock)
    assert clock.now_ms() == machine.right_ms
    machine.off_ms = jump_ms
    for _ in range(100):
        machine.ran_ms += 10_000
        assert clock.now_ms() == machine.right_ms
        assert clock.wall_error_ms == jump_ms
    machine.off_ms = 0
    assert clock.now_ms() == machine.right_ms


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_a_network_clock_that_jumps_alone_changes_nothing(machine: Machine, clock: SteadyClock, jump_ms: int) -> None:
    machine.hear(clock)
    clock.now_ms()
    machine.network_off_ms = jump_ms
    machine.hear(clock)
    machine.ran_ms += 10_000
    assert clock.now_ms() == machine.right_ms


def test_after_a_sleep_the_two_that_went_on_are_followed(machine: Machine, clock: SteadyClock) -> None:
    machine.hear(clock)
    clock.now_ms()
    machine.slept_ms = HOUR_MS
    assert clock.now_ms() == machine.right_ms - HOUR_MS
    machine.hear(clock)
    assert clock.now_ms() == machine.right_ms


def test_small_differences_are_split_without_a_step_back(machine: Machine, clock: SteadyClock) -> None:
    machine.network_off_ms = 30.0
    machine.hear(clock)
    told = [clock.now_ms()]
    for second in range(60):
        machine.ran_ms += 1_000
        machine.off_ms = 10.0 * (second % 2)
        machine.hear(clock)
        told.append(clock.now_ms())
        assert 0 <= told[-1] - machine.right_ms <= 30
    assert told == sorted(told)
