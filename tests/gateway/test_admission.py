"""How a storm of nodes is let in, simulated second by second, and who is counted together."""

import heapq
import random

import pytest

from dispatcher.admission import LONGEST_WAIT_S, AddressCounts, Admission
from dispatcher.node_address import DailyKey, counted_label, network_of, seen_address, subnet_label

KEY = b"k" * 32


def storm(nodes: int, per_s: float, *, seed: int = 1) -> tuple[list[float], int]:
    """All nodes dial in the same moment and return when they are told; when each was let in, and how many tries."""
    chance = random.Random(seed)
    admission = Admission(per_s=per_s, random=chance.random)
    dialling = [(chance.random(), number) for number in range(nodes)]
    heapq.heapify(dialling)
    let_in, tries = list[float](), 0
    while dialling:
        now_s, number = heapq.heappop(dialling)
        tries += 1
        wait_s = admission.try_admit(now_s)
        if wait_s is None:
            let_in.append(now_s)
        else:
            heapq.heappush(dialling, (now_s + wait_s, number))
    return let_in, tries


def test_a_storm_is_let_in_at_its_pace_with_few_tries() -> None:
    let_in, tries = storm(20_000, 200.0)
    for second in range(int(max(let_in)) + 1):
        assert sum(second <= at < second + 1 for at in let_in) <= 3 * 200 + 1
    assert max(let_in) <= 2.5 * 20_000 / 200
    assert tries <= 2.5 * 20_000


def test_who_comes_late_is_told_to_wait_longer_and_never_too_long() -> None:
    admission = Admission(per_s=10.0, random=lambda: 0.0)
    waits = [admission.try_admit(0.0) for _ in range(10_000)]
    told = [wait for wait in waits if wait is not None]
    assert waits[:20] == [None] * 20
    assert told == sorted(told)
    assert (told[0], told[-1]) == (1, LONGEST_WAIT_S)


def test_waits_are_jittered() -> None:
    chance = random.Random(2)
    admission = Admission(per_s=1.0, random=chance.random)
    for _ in range(102):
        admission.try_admit(0.0)
    waits = {admission.wait_s() for _ in range(200)}
    assert min(waits) >= 100 and max(waits) <= 126 and len(waits) > 10


def test_a_quiet_gateway_lets_everybody_in() -> None:
    admission = Admission(per_s=5.0, random=lambda: 0.5)
    assert all(admission.try_admit(second / 5) is None for second in range(1_000))


def test_an_address_has_so_many_connections_and_no_more() -> None:
    counts = AddressCounts(most=2)
    assert [counts.try_add(b"a"), counts.try_add(b"a"), counts.try_add(b"a"), counts.try_add(b"b")] == [
        *(True, True, False),
        True,
    ]
    counts.remove(b"a")
    assert counts.try_add(b"a") and not counts.try_add(b"a")


@pytest.mark.parametrize(
    ("one", "other", "same_count", "same_subnet"),
    [
        ("93.184.216.34", "93.184.216.34", True, True),
        ("93.184.216.34", "93.184.216.35", False, True),
        ("93.184.216.34", "93.184.217.34", False, False),
        ("93.184.216.34", "::ffff:93.184.216.34", True, True),
        ("2606:2800:220:1::1", "2606:2800:220:1:ffff::9", True, True),
        ("2606:2800:220:1::1", "2606:2800:220:2::1", False, True),
        ("2606:2800:220:1::1", "2606:2800:221:1::1", False, False),
    ],
)
def test_who_is_counted_together_and_who_is_near(one: str, other: str, same_count: bool, same_subnet: bool) -> None:
    first, second = (seen_address(text, (), behind_proxy=False) for text in (one, other))
    assert first is not None and second is not None
    assert (counted_label(first, KEY) == counted_label(second, KEY)) is same_count
    assert (subnet_label(network_of(first), KEY) == subnet_label(network_of(second), KEY)) is same_subnet


def test_a_label_is_twelve_digits_of_a_key_that_lasts_a_day() -> None:
    now_ms, made = 1_780_000_000_000, list[bytes]()

    def random_bytes(count: int) -> bytes:
        made.append(bytes([len(made)]) * count)
        return made[-1]

    key = DailyKey(clock=lambda: now_ms, random_bytes=random_bytes)
    network = b"\x5d\xb8\xd8"
    label = subnet_label(network, key())
    assert len(label) == 12 and int(label, 16) >= 0
    assert subnet_label(network, key()) == label and len(made) == 1
    now_ms += 24 * 3_600_000
    assert subnet_label(network, key()) != label
