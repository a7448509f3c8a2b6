"""The environment: every wrong value at once, and which names a dispatcher answers to."""

import os

import pytest

from dispatcher.errors import SetupError
from dispatcher.settings import DispatcherSettings, read_settings, redacted, require_distributed


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
        "MEADOW_KEY_RATE_PER_MINUTE": "0",
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


def test_no_address_is_shown_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "MEADOW_DATABASE_URL": "mysql://meadow:hun/ter?2#2@db.example:5432/meadow",
        "MEADOW_REDIS_URL": "localhost://:hunter2@cache.example",
        "MEADOW_STORE_URL": "http://key:hunter2@store.example/bucket",
        "MEADOW_SOLANA_URL": "ws://hunter2@rpc.example",
        "MEADOW_OTLP_ENDPOINT": "collector.example",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as refused:
        read_settings()
    for name in wrong:
        assert f"{name}=" in str(refused.value)
    assert "postgresql://user:password@host:port/database" in str(refused.value)
    assert "hun" not in str(refused.value)
    assert "hunter2" not in repr(refused.value.__context__)
    right = {
        "MEADOW_DATABASE_URL": "postgresql://meadow:hunter2@db.example:5432/meadow",
        "MEADOW_REDIS_URL": "rediss://:hunter2@cache.example",
        "MEADOW_STORE_URL": "s3://bucket/prefix",
        "MEADOW_SOLANA_URL": "https://rpc.example/?api-key=hunter2",
        "MEADOW_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    }
    for name, value in right.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert "hunter2" not in repr(settings)
    for value in right.values():
        assert "hunter2" not in redacted(value)
    assert redacted(right["MEADOW_DATABASE_URL"]) == "postgresql://…@db.example:5432/meadow"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("database_url", "sqlite://relative.db", "sqlite:///path"),
        ("database_url", "sqlite:///", "sqlite:///path"),
        ("database_url", "postgresql://host", "names no database"),
        ("database_url", "ledger.sqlite3", "sqlite:///path"),
        ("redis_url", "localhost:6379", "redis://"),
        ("redis_url", "redis://host:port/0", "redis://"),
        ("store_url", "/var/lib/meadow", "file:///path"),
        ("solana_url", "localhost:8899", "http://host:port"),
        ("dispatcher_id", "two words", "pattern"),
        ("frontier_shards", "0", "greater than or equal to 1"),
        ("accepts_per_s", "0", "greater than 0"),
        ("max_per_address", "-1", "greater than or equal to 1"),
        ("log_format", "xml", "'console' or 'json'"),
        ("public_url", "api.example.org", "https://api.example.org"),
        ("public_url", "https://api.example.org/meadow", "without a path"),
        ("port", "65536", "less than or equal to 65535"),
    ],
)  # fmt: skip
def test_what_a_value_must_look_like_is_said(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"MEADOW_{name.upper()}", value)
    with pytest.raises(SetupError) as refused:
        read_settings()
    assert f"MEADOW_{name.upper()}={value!r}: " in str(refused.value)
    assert said in str(refused.value)


def test_a_distributed_dispatcher_asks_for_all_it_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError) as refused:
        require_distributed(read_settings())
    told = {
        "DATABASE_URL": "postgresql://meadow@db.example/meadow",
        "REDIS_URL": "redis://cache.example",
        "STORE_URL": "s3://bucket",
        "SOLANA_URL": "https://rpc.example",
        "KEYS_DIR": "/etc/meadow/keys",
    }
    for name in told:
        assert f"MEADOW_{name}: " in str(refused.value)
    for name, value in told.items():
        monkeypatch.setenv(f"MEADOW_{name}", value)
    require_distributed(read_settings())


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DispatcherSettings().host = "x"
