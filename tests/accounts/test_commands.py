"""The operator's commands about keys and credits, run beside the ledger of a network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dispatcher.adapters.key_files import load_or_create_secret
from dispatcher.adapters.operator_keys import API_KEY_SECRET
from dispatcher.adapters.sql_ledger import open_beside, open_sqlite_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import SERVER_SECRET_BYTES, parse_prefix
from dispatcher.audit import Auditor
from dispatcher.caller import Caller
from dispatcher.callers import Callers
from dispatcher.cli import app
from dispatcher.rate_limits import OwnRates


class Network:
    """The data folder of a network, its ledger open as by a dispatcher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/ledger.sqlite3"

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--data", str(self.folder)])

    def told(self, *arguments: str) -> str:
        ran = self.run(*arguments)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    def caller(self, text: str) -> Caller:
        async def look() -> Caller:
            ledger = await open_beside(self.url)
            secret = load_or_create_secret(self.folder / "keys" / API_KEY_SECRET, SERVER_SECRET_BYTES)
            callers = Callers(
                keys=ledger,
                key_secret=secret,
                clock=now_ms,
                rates=OwnRates(),
                refused=Auditor(ledger=ledger, clock=now_ms, new_id=new_id),
            )
            try:
                return await callers.caller_of(text)
            finally:
                await ledger.close()

        return asyncio.run(look())


@pytest.fixture
def network(tmp_path: Path) -> Network:
    asyncio.run(_make(tmp_path / "ledger.sqlite3"))
    return Network(tmp_path)


async def _make(path: Path) -> None:
    await (await open_sqlite_ledger(path)).close()


def test_a_key_with_everything_said_of_it(network: Network) -> None:
    said = network.told(
        *("key", "create", "--name", "a lab", "--team", "blue", "--scope", "read", "--scope", "crawl"),
        *("--expires", "90d", "--purpose", "search", "--rate", "60", "--concurrency", "5", "--budget", "100"),
    )
    caller = network.caller(said.strip())
    assert (caller.team_id, sorted(caller.scopes), caller.default_purpose) == ("blue", ["crawl", "read"], "search")
    assert (caller.limits.rate_per_minute, caller.limits.max_concurrency, caller.limits.daily_credits) == (60, 5, 100)
    listed = network.told("key", "list", "--team", "blue")
    assert "active" in listed
    assert said.strip() not in listed
    assert "crawl" not in network.told("key", "list")


def test_a_key_is_rotated_and_revoked_by_how_it_begins(network: Network) -> None:
    old = network.told("key", "create").strip()
    prefix = parse_prefix(old)
    assert prefix is not None
    new = network.told("key", "rotate", prefix, "--grace", "60").strip()
    assert [network.caller(key).team_id for key in (old, new)] == ["local", "local"]
    network.told("key", "revoke", prefix)
    ran = network.run("key", "revoke", prefix)
    assert ran.exit_code == 1
    assert "is revoked already" in ran.output
    assert "no key mw_nothing" in network.run("key", "revoke", "mw_nothing").output
    assert network.caller(new).team_id == "local"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scope", "everything"), "accepts scrape or crawl or datasets or read or webhooks or admin"),
        (("--expires", "soon"), "accepts a time from now (90d, 12h, 30m)"),
        (("--expires", "2001-01-01T00:00:00Z"), "--expires: got '2001-01-01T00:00:00Z'"),
        (("--purpose", "fun"), "accepts train-ai or search"),
    ],
)
def test_what_cannot_be_said_of_a_key_is_named(network: Network, arguments: tuple[str, ...], words: str) -> None:
    ran = network.run("key", "create", *arguments)
    assert ran.exit_code == 1
    assert words in " ".join(ran.output.split())


def test_credits_are_added_and_shown(network: Network) -> None:
    assert "no account" in network.told("team", "credits", "show", "blue")
    assert "blue: 50 credits" in network.told("team", "credits", "add", "blue", "50", "--note", "invoice 7")
    network.told("team", "credits", "add", "blue", "5", "--kind", "grant")
    shown = network.told("team", "credits", "show", "blue")
    assert "blue: 55 credits" in shown
    assert "invoice 7" in shown
    assert shown.index("grant") < shown.index("purchase")
    assert "purchase or grant or refund" in network.run("team", "credits", "add", "blue", "5", "--kind", "gift").output
    assert network.run("team", "credits", "add", "blue", "0").exit_code == 2
