"""The environment: every wrong value at once, and which names a dispatcher answers to."""

import os

import pytest

from dispatcher.errors import SetupError
from dispatcher.settings import DispatcherSettings, read_settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEADOW_")]:
        monkeypatch.delenv(name)


def test_defaults_are_for_one_machine() -> None:
    settings = read_settings()
    assert (settings.host, settings.solana_url, settings.token_mint) == ("127.0.0.1", None, None)
    assert (settings.redis_url, settings.host_delay_ms) == (None, 1_000)


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "MEADOW_HOST_DELAY_MS": "-1",
        "MEADOW_HOST_MAX_CONCURRENT": "many",
        "MEADOW_MAX_NODES": "0",
        "MEADOW_CLEANING_WORKERS": "1.5",
        "MEADOW_CHECKPOINT_MS": "1",
        "MEADOW_CREDIT_HOLD_MS": "nan",
        "MEADOW_EPOCH_MS": "99",
        "MEADOW_JOB_DEADLINE_MS": "",
        "MEADOW_DRAIN_MS": "-5",
        "MEADOW_LOG_ORIGIN": "two words",
        "MEADOW_TLS_IN_FRONT": "perhaps",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as refused:
        read_settings()
    for name, value in wrong.items():
        assert f"{name}={value!r}: " in str(refused.value)


@pytest.mark.parametrize("origin", ["has+plus", "ümlaut", "", "x" * 129, "a\nb"])
def test_a_log_origin_is_one_word_that_a_signed_note_can_hold(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("MEADOW_LOG_ORIGIN", origin)
    with pytest.raises(SetupError, match="MEADOW_LOG_ORIGIN"):
        read_settings()


def test_a_dispatcher_that_others_reach_must_say_by_which_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_HOST", "0.0.0.0")
    with pytest.raises(SetupError, match="MEADOW_PUBLIC_HOSTS"):
        read_settings()
    monkeypatch.setenv("MEADOW_PUBLIC_HOSTS", " , ")
    with pytest.raises(SetupError, match="MEADOW_PUBLIC_HOSTS"):
        read_settings()
    monkeypatch.setenv("MEADOW_PUBLIC_HOSTS", "Gateway.Example.org, 192.0.2.7:8420,")
    settings = read_settings()
    for host in ("gateway.example.org", "GATEWAY.example.org", "192.0.2.7:8420", "127.0.0.1:1", "localhost", "[::1]:9"):
        assert settings.serves(host), host
    for host in ("gateway.example.org.evil.example", "192.0.2.7", "127.0.0.1.evil.example:80", "evil.example", ""):
        assert not settings.serves(host), host


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DispatcherSettings().host = "x"
