import os
import stat
from pathlib import Path

import pytest

from node_agent.adapters import key_file
from node_agent.backoff import BASE_MS, CEILING_MS, LONGEST_TOLD_MS, STABLE_SESSION_MS, Backoff
from node_agent.consent import TERMS_VERSION, Acceptance, is_accepted
from node_agent.dispatcher_url import parse_dispatcher_url
from node_agent.errors import KeyFileUnsafe, SettingsInvalid
from node_agent.identity import check_wallet
from node_agent.journal import LogEntry, Outcome
from node_agent.lines import csv_row, log_line
from node_agent.settings import read_settings
from protocol import base58

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_wallets() -> None:
    address = base58.encode(os.urandom(32))
    assert check_wallet(address) == address
    for wrong in ("", "abc", address[:-1] + "0", "1" * 45, "1" * 31, "z" * 44):
        with pytest.raises(ValueError, match="Solana address"):
            check_wallet(wrong)


def test_backoff_doubles_to_a_ceiling_and_starts_anew_after_a_stable_session() -> None:
    backoff = Backoff()
    longest = [backoff.wait_ms(0.999999) + 1 for _ in range(10)]
    assert longest[:8] == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]
    assert longest[9] == CEILING_MS
    assert backoff.wait_ms(0.0) == 0
    backoff.session_ended(STABLE_SESSION_MS - 1, acknowledged=0)
    assert backoff.wait_ms(0.5) == CEILING_MS // 2
    backoff.session_ended(STABLE_SESSION_MS, acknowledged=0)
    assert backoff.wait_ms(0.5) == BASE_MS // 2


def test_backoff_starts_anew_after_a_short_session_that_brought_an_acknowledged_result() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.wait_ms(0.5)
    backoff.session_ended(50, acknowledged=1)
    assert backoff.wait_ms(0.5) == BASE_MS // 2


@pytest.mark.parametrize(
    ("given", "url", "audience"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/v1/node", "ws://127.0.0.1:8000"),
        ("http://localhost:8000/", "ws://localhost:8000/v1/node", "ws://localhost:8000"),
        ("ws://[::1]:80/v1/node", "ws://[::1]/v1/node", "ws://[::1]"),
        ("https://Meadow.example:443", "wss://meadow.example/v1/node", "wss://meadow.example"),
        ("wss://meadow.example:8443/gate", "wss://meadow.example:8443/gate", "wss://meadow.example:8443"),
    ],
)
def test_dispatcher_urls(given: str, url: str, audience: str) -> None:
    parsed = parse_dispatcher_url(given)
    assert (parsed.url, parsed.audience) == (url, audience)


@pytest.mark.parametrize(
    "given",
    [
        *("", "meadow.example", "ftp://meadow.example", "ws://meadow.example", "http://192.168.0.5:8000"),
        *("https://user@meadow.example", "https://meadow.example/x", "wss://meadow.example/?a", "https://a.example."),
        *("ws://127.0.0.1.example.com/", "ws://localhost.example.com/"),
    ],
)
def test_wrong_dispatcher_urls_say_what_is_expected(given: str) -> None:
    with pytest.raises(ValueError, match="https"):
        parse_dispatcher_url(given)


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_NODE_PER_SECOND", "0")
    with pytest.raises(SettingsInvalid) as caught:
        read_settings(
            dispatcher="ftp://x", wallet="abc", country="de", purpose=("spam",), root_key="x", max_concurrent=65
        )
    text = str(caught.value)
    for option in ("dispatcher", "wallet", "country", "purpose", "root-key", "max-concurrent", "per-second"):
        assert f"--{option} (or MEADOW_NODE_{option.upper().replace('-', '_')}): " in text
    assert len(text.splitlines()) == 7


def test_settings_come_from_the_environment_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_NODE_DISPATCHER", "https://meadow.example")
    monkeypatch.setenv("MEADOW_NODE_PURPOSE", "search, rag")
    monkeypatch.setenv("MEADOW_NODE_DAILY_BYTES", "1000")
    settings = read_settings(daily_bytes=5, wallet=None)
    assert (settings.dispatcher, settings.purpose, settings.daily_bytes) == (
        *("https://meadow.example", ("search", "rag"), 5),
    )
    assert settings.allow_test_site == ()


def test_key_file_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    key = key_file.load_or_create(tmp_path, os.urandom(32))
    path = tmp_path / key_file.KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_file.load_or_create(tmp_path, os.urandom(32)).public == key.public
    assert [entry.name for entry in tmp_path.iterdir()] == [key_file.KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    key_file.load_or_create(tmp_path, os.urandom(32))
    path = tmp_path / key_file.KEY_FILE
    path.chmod(mode)
    with pytest.raises(KeyFileUnsafe, match="chmod 600"):
        key_file.load_or_create(tmp_path, os.urandom(32))


def test_damaged_key_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / key_file.KEY_FILE
    path.touch(mode=0o600)
    path.write_bytes(b"no key")
    with pytest.raises(KeyFileUnsafe, match="holds no key"):
        key_file.load_or_create(tmp_path, os.urandom(32))
    assert path.read_bytes() == b"no key"


def test_consent_to_older_terms_is_asked_again() -> None:
    assert not is_accepted(None)
    assert not is_accepted(Acceptance(TERMS_VERSION - 1, 1, "terminal"))
    assert is_accepted(Acceptance(TERMS_VERSION, 1, "terminal"))


def test_what_others_sent_steers_neither_terminal_nor_spreadsheet() -> None:
    entry = LogEntry(
        *("01900000-0000-7000-8000-000000000000", 1, 0, 0, "http://example.com/", None, (), "search", 200, 5),
        *(Outcome.REJECTED, "=cmd()\x1b[2J\nnext", 0, None),
    )
    assert "\x1b" not in log_line(entry)
    assert "\n" not in log_line(entry)
    assert csv_row(entry)[-1].startswith("'=cmd()")
    assert "\x1b" not in csv_row(entry)[-1]


def test_a_told_wait_is_kept_spread_and_bounded() -> None:
    backoff = Backoff()
    assert backoff.told_wait_ms(8_000, 0.0) == 8_000
    assert backoff.told_wait_ms(8_000, 0.999) == 9_998
    assert backoff.told_wait_ms(10**12, 0.5) == LONGEST_TOLD_MS
