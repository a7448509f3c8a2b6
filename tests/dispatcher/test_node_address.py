"""Which address a node is told it is seen at."""

import pytest

from dispatcher.node_address import public_address

SEEN = "93.184.216.34"


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (SEEN, SEEN),
        ("2606:2800:220:1::1", "2606:2800:220:1::1"),
        ("2606:2800:0220:0001:0000::0001", "2606:2800:220:1::1"),
        (f"::ffff:{SEEN}", SEEN),
        ("::ffff:192.168.1.5", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.1.2.3", None),
        ("100.64.0.9", None),
        ("fe80::1%eth0", None),
        ("2606:2800:220:1::1%eth0", None),
        ("fd00::1", None),
        ("2002:5db8:d822::1", None),
        ("not an address", None),
        ("", None),
        (None, None),
    ],
)
def test_a_peer_that_is_public_is_told_its_address(peer: str | None, told: str | None) -> None:
    assert public_address(peer, (), behind_proxy=False) == told


@pytest.mark.parametrize(
    ("forwarded", "told"),
    [
        ((SEEN,), SEEN),
        (("1.1.1.1, 8.8.8.8 , 93.184.216.34",), SEEN),
        (("1.1.1.1", SEEN), SEEN),
        ((f"{SEEN}:4711",), SEEN),
        (("2606:2800:220:1::1",), "2606:2800:220:1::1"),
        (("[2606:2800:220:1::1]:4711",), "2606:2800:220:1::1"),
        (("[2606:2800:220:1::1]",), "2606:2800:220:1::1"),
        ((f"{SEEN}, 192.168.0.7",), None),
        ((f"{SEEN}, unknown",), None),
        ((f"{SEEN},",), None),
        (("[",), None),
        ((":",), None),
        (("",), None),
        ((), None),
    ],
)
def test_behind_a_proxy_the_last_forwarded_address_counts(forwarded: tuple[str, ...], told: str | None) -> None:
    assert public_address("1.1.1.1", forwarded, behind_proxy=True) == told


def test_without_a_proxy_what_is_said_to_be_forwarded_is_hearsay() -> None:
    assert public_address("1.1.1.1", (SEEN,), behind_proxy=False) == "1.1.1.1"
