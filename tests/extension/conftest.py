"""One sandbox for each test file, with a name server, a public site and a trap on every other address."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.extension.authority import Authority, make_authority
from tests.extension.name_server import NameServer, serving_names
from tests.extension.sandbox import SITE_ADDRESSES, Sandbox, available, sandbox
from tests.extension.site import Site, serving
from tests.extension.trap import Trap, trapping
from tests.extension.wire import Wire, watching

expect.set_options(timeout=60_000)  # what a page does at once takes long where the machine has other work

DOMAIN = "meadow-test.org"
NEWS, SHOP, HOME = f"news.{DOMAIN}", f"shop.{DOMAIN}", f"home.{DOMAIN}"
"""Public names: two sites at public addresses, and one whose owner points it at the sharer's home."""

RECORDS = {
    NEWS: ("93.184.216.34", "2606:2800:220:1::1"),
    SHOP: ("93.184.216.35",),
    HOME: ("192.168.1.1",),
}


@dataclass(frozen=True)
class World:
    """The whole outside of a browser."""

    sandbox: Sandbox
    names: NameServer
    site: Site
    trap: Trap
    wire: Wire
    authority: Authority


@contextlib.contextmanager
def opening_world(folder: Path) -> Iterator[World]:
    """Move the calling thread into a sandbox and serve everything in it; `folder` takes the authority's files."""
    authority = make_authority(folder, [f"*.{DOMAIN}"])
    with (
        sandbox() as box,
        watching() as wire,
        serving_names() as names,
        serving(SITE_ADDRESSES, tls=authority.context) as site,
        trapping() as trap,
    ):
        world = World(box, names, site, trap, wire, authority)
        reset(world)
        yield world
    assert wire.lost == 0, "the wire did not see every packet"


def reset(world: World) -> None:
    """Bring the world to its start: nothing seen, the usual names, no answers of a test's own."""
    world.names.reset(RECORDS)
    world.site.reset()
    world.trap.reset()
    world.wire.sent.clear()


@pytest.fixture(scope="module")
def opened_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    with opening_world(tmp_path_factory.mktemp("authority")) as world:
        yield world


@pytest.fixture
def world(opened_world: World) -> World:
    """The world as it is at the start of each test."""
    reset(opened_world)
    return opened_world
