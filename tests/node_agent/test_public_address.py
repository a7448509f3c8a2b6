"""The node keeps out of the network its dispatcher sees it in, for as long as it runs."""

import ipaddress
from pathlib import Path

import pytest

from node_agent.adapters.psutil_networks import MachineNetworks, own_networks
from node_agent.public_address import network_around
from protocol.messages import FailureCode, RefusalCode
from protocol.urls import AllowedAddress, Reason, Refusal, check_address
from tests.node_agent.conftest import running_node
from tests.node_agent.played_dispatcher import Dispatcher

HOME = "3000:0:7:1::9"
"""Of 3000::/5, which nobody was given: nothing of it is ever reached."""


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("93.184.216.34", "93.184.216.34/32"),
        ("2606:2800:220:1::1", "2606:2800:220::/48"),
        ("2606:2800:220:ffff:ffff:ffff:ffff:ffff", "2606:2800:220::/48"),
    ],
)
def test_the_network_around_an_address(address: str, network: str) -> None:
    assert network_around(address) == ipaddress.ip_network(network)


@pytest.mark.parametrize(
    "address",
    [
        "", " ", "here", "93.184.216.34 ", "93.184.216", "0x5db8d822", "1572395042", "93.184.216.34/8", "::/0", "0.0.0.0",
        "127.0.0.1", "192.168.1.1", "::1", "fe80::1", "fe80::1%eth0", "2606:2800:220:1::1%eth0", "::ffff:93.184.216.34",
        "2606:2800:220:1::1/16", "[2606:2800:220:1::1]", "\ud800", "9" * 5_000, "\x00",
    ],
)  # fmt: skip
def test_what_is_no_public_address_is_ignored(address: str) -> None:
    networks = MachineNetworks()
    networks.seen_at("93.184.216.34")
    networks.seen_at(address)
    assert network_around(address) is None
    assert networks() == [*own_networks(), ipaddress.ip_network("93.184.216.34/32")]


def test_the_last_address_of_each_family_holds() -> None:
    networks = MachineNetworks()
    for address in ("93.184.216.34", "2606:2800:220:1::1", "198.41.0.4"):
        networks.seen_at(address)
    for address, own in (("93.184.216.34", False), ("198.41.0.4", True), ("2606:2800:220:9::9", True)):
        checked = check_address(address, own_networks=networks())
        assert isinstance(checked, Refusal if own else AllowedAddress), address
        assert not own or (isinstance(checked, Refusal) and checked.reason is Reason.OWN_NETWORK)


async def test_a_node_is_told_where_it_is_and_keeps_out_of_it(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.connected()
        before = await dispatcher.failure("http://[3000:0:7:2::5]/", timeout_ms=700)
        assert before.reason in {FailureCode.CONNECT_FAILED, FailureCode.TIMEOUT}
        sessions = 1
        for told in (HOME, None, "here", "192.168.1.1", "198.41.0.4"):
            dispatcher.your_address = told
            await dispatcher.drop()
            sessions += 1
            await dispatcher.connected(sessions=sessions)
            refusal = await dispatcher.refusal("http://[3000:0:7:2::5]/")
            assert refusal.reason is RefusalCode.BLOCKED_BY_OWNER
        refusal = await dispatcher.refusal("http://198.41.0.4/")
        assert refusal.reason is RefusalCode.BLOCKED_BY_OWNER
        neighbour = await dispatcher.failure("http://[3000:0:8:2::5]/", timeout_ms=700)
        assert neighbour.reason in {FailureCode.CONNECT_FAILED, FailureCode.TIMEOUT}
        assert not [line for line in node.lines if HOME in line]
    for path in (tmp_path / "n").rglob("*"):
        if path.is_file():
            assert HOME.encode() not in path.read_bytes()
