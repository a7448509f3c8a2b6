"""The dispatcher's settings, read once from `MEADOW_*` variables of the environment by the command line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dispatcher.errors import SetupError
from dispatcher.leader import LEASE_MS
from dispatcher.rate_limits import DEFAULT_PER_MINUTE
from dispatcher.store_location import SCHEMES as STORE_SCHEMES

SIMULATED_HOLD_MS = 0
SIMULATED_EPOCH_MS = 2_000
REAL_HOLD_MS = 7 * 24 * 3_600_000
REAL_EPOCH_MS = 24 * 3_600_000
SIMULATED_CHECKPOINT_MS = 1_000
REAL_CHECKPOINT_MS = 60_000
SQLITE_URL = "sqlite:///"

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECRET = re.compile(r"^([a-z+]*://)?.*@", re.DOTALL)
"""User and password of a URL; passwords that were not escaped may hold anything."""


def redacted(url: str) -> str:
    """Return a URL without its user, password, query and fragment: what may be shown and logged."""
    shown = _SECRET.sub(r"\1…@", url)
    return re.split(r"[?#]", shown, maxsplit=1)[0]


def _url(*schemes: str, form: str) -> Callable[[str], str]:
    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"it must look like {form}") from error
        if parts.scheme not in schemes or not (parts.netloc or parts.path.strip("/")):
            raise ValueError(f"it must look like {form}")
        return url

    return check


def _public_url(url: str) -> str:
    form = "https://api.example.org, without a path"
    parts = urlsplit(_url("http", "https", form=form)(url))
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"it must look like {form}")
    return url.rstrip("/")


def _database_url(url: str) -> str:
    form = "sqlite:///path or postgresql://user:password@host:port/database"
    _url("sqlite", "postgresql", "postgres", form=form)(url)
    if url.startswith("sqlite:") and (not url.startswith(SQLITE_URL) or not url.removeprefix(SQLITE_URL)):
        raise ValueError(f"it must look like {form}")
    if url.startswith("postgres") and not urlsplit(url).path.strip("/"):
        raise ValueError(f"it names no database; it must look like {form}")
    return url


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("it must be the whole path of a Chromium's executable, as /usr/bin/chromium")
    return path


_SOLANA = _url("http", "https", form="http://host:port or https://host")
_REDIS = _url(
    "redis", "rediss", "unix", form="redis://[user:password@]host:port/0, rediss://host:port/0 or unix:///path"
)
_STORE = _url(*STORE_SCHEMES, form="file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
_OTLP = _url("http", "https", form="http://host:4318")
_MODEL = _url("http", "https", form="https://host/v1, the base address of an OpenAI-compatible API")


class DispatcherSettings(BaseSettings):
    """What an operator may set. Times in milliseconds; `None` takes the default that fits the chain in use.

    The addresses of the stores (`database_url`, `redis_url`, `store_url`, `solana_url`) and `keys_dir` are what a
    distributed network shares; `meadow up` makes its own of each that is not set.

    On a simulator, whose tokens have no value, a token is made, credits are held for no time and paid every few
    seconds. Where `token_mint` names a token they are held for seven days and paid daily, and a checkpoint is anchored
    once a minute.

    `model_url`, `model_name` and `model_key` name a model that summaries and prompts about pages are given to; without
    them such requests are refused.

    `screenshot_browser` is a Chromium's executable, which pictures of pages are taken with; without it they are
    refused. `screenshot_sandbox` false starts it without its sandbox, which is what root, and a container that forbids
    user namespaces, need.
    """

    model_config = SettingsConfigDict(env_prefix="MEADOW_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65_535)
    public_hosts: str = ""
    tls_in_front: bool = False
    public_url: Annotated[str, AfterValidator(_public_url)] | None = None
    dispatcher_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    database_url: Annotated[str, AfterValidator(_database_url)] | None = Field(default=None, repr=False)
    redis_url: Annotated[str, AfterValidator(_REDIS)] | None = Field(default=None, repr=False)
    store_url: Annotated[str, AfterValidator(_STORE)] | None = Field(default=None, repr=False)
    solana_url: Annotated[str, AfterValidator(_SOLANA)] | None = Field(default=None, repr=False)
    keys_dir: Path | None = None
    solana_keypair: Path | None = None
    token_mint: str | None = None
    log_origin: str | None = Field(default=None, pattern=r"^[!-*,-~]{1,128}$")
    frontier_shards: int = Field(default=1, ge=1, le=1_024)
    host_delay_ms: int = Field(default=1_000, ge=0, le=3_600_000)
    host_max_concurrent: int = Field(default=2, ge=1, le=64)
    max_nodes: int = Field(default=10_000, ge=1)
    max_per_address: int = Field(default=256, ge=1)
    accepts_per_s: float = Field(default=500.0, gt=0, le=1_000_000)
    cleaning_workers: int = Field(default=2, ge=1, le=64)
    checkpoint_ms: int | None = Field(default=None, ge=100)
    credit_hold_ms: int | None = Field(default=None, ge=0)
    epoch_ms: int | None = Field(default=None, ge=100)
    key_rate_per_minute: int = Field(default=DEFAULT_PER_MINUTE, ge=1, le=1_000_000_000)
    job_deadline_ms: int = Field(default=24 * 3_600_000, ge=1_000)
    drain_ms: int = Field(default=10_000, ge=0)
    duty_lease_ms: int = Field(default=LEASE_MS, ge=1_000, le=600_000)
    model_url: Annotated[str, AfterValidator(_MODEL)] | None = Field(default=None, repr=False)
    model_key: SecretStr | None = Field(default=None, repr=False)
    model_name: str | None = Field(default=None, min_length=1, max_length=200)
    screenshot_browser: Annotated[Path, AfterValidator(_absolute)] | None = None
    screenshot_sandbox: bool = True
    otlp_endpoint: Annotated[str, AfterValidator(_OTLP)] | None = Field(default=None, repr=False)
    log_format: Literal["console", "json"] = "console"

    @property
    def served_hosts(self) -> frozenset[str]:
        """The names nodes dial besides loopback: `MEADOW_PUBLIC_HOSTS`, separated by commas."""
        return frozenset(name.strip().lower() for name in self.public_hosts.split(",") if name.strip())

    def serves(self, host: str) -> bool:
        """Tell whether a Host header names this dispatcher: one of `served_hosts`, or loopback with any port."""
        name = host.lower()
        return name in self.served_hosts or name.rpartition(":")[0] in _LOOPBACK or name in _LOOPBACK


def read_settings() -> DispatcherSettings:
    """Read the environment; SetupError names every wrong value and what was expected, all at once."""
    lines: list[str] = []
    try:
        settings = DispatcherSettings()
    except ValidationError as error:
        lines = [_fault(str(fault["loc"][0]), fault["input"], fault["msg"]) for fault in error.errors()]
    if lines:
        # Raised here and not there: pydantic's own error repeats the values, passwords and all.
        raise SetupError("the environment has values that cannot be used:\n  " + "\n  ".join(lines))
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.served_hosts:
        raise SetupError(
            f"MEADOW_HOST={settings.host} can be reached from elsewhere: name the hosts that nodes dial in "
            "MEADOW_PUBLIC_HOSTS, separated by commas, as gateway.example.org or 192.0.2.7:8420"
        )
    if (settings.model_url is None) != (settings.model_name is None):
        missing = "MEADOW_MODEL_NAME" if settings.model_name is None else "MEADOW_MODEL_URL"
        raise SetupError(f"a model is named by MEADOW_MODEL_URL and MEADOW_MODEL_NAME: set {missing} too, or neither")
    return settings


def _fault(name: str, value: object, message: str) -> str:
    shown = redacted(value) if isinstance(value, str) else value
    return f"MEADOW_{name.upper()}={shown!r}: {message.removeprefix('Value error, ')}"


def require_distributed(settings: DispatcherSettings) -> None:
    """Make sure that everything dispatchers of one network share is named; SetupError lists what is not."""
    needed = {
        "MEADOW_DATABASE_URL": ("the ledger, as postgresql://user:password@host/database", settings.database_url),
        "MEADOW_REDIS_URL": ("the queue, as redis://host:6379/0", settings.redis_url),
        "MEADOW_STORE_URL": ("pages, datasets and the log, as s3://bucket/prefix", settings.store_url),
        "MEADOW_SOLANA_URL": ("the chain, as https://host", settings.solana_url),
        "MEADOW_KEYS_DIR": ("the folder of the network's keys, the same for every dispatcher", settings.keys_dir),
    }
    missing = [f"{name}: {meaning}" for name, (meaning, value) in needed.items() if value is None]
    if missing:
        raise SetupError(
            "a dispatcher of a distributed network is told where everything is; set:\n  "
            + "\n  ".join(missing)
            + "\nFor a network on this machine alone, run: meadow up"
        )
