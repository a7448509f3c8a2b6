"""The dispatcher's settings, read once from `MEADOW_*` variables of the environment by `cli.py`."""

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dispatcher.errors import SetupError

SIMULATED_HOLD_MS = 0
SIMULATED_EPOCH_MS = 2_000
REAL_HOLD_MS = 7 * 24 * 3_600_000
REAL_EPOCH_MS = 24 * 3_600_000
SIMULATED_CHECKPOINT_MS = 1_000
REAL_CHECKPOINT_MS = 60_000

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class DispatcherSettings(BaseSettings):
    """What an operator may set. Times in milliseconds; `None` takes the default that fits the chain in use.

    On a simulator, whose tokens have no value, a token is made, credits are held for no time and paid every few
    seconds. Where `token_mint` names a token they are held for seven days and paid daily, and a checkpoint is anchored
    once a minute.
    """

    model_config = SettingsConfigDict(env_prefix="MEADOW_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    public_hosts: str = ""
    tls_in_front: bool = False
    redis_url: str | None = None
    solana_url: str | None = None
    solana_keypair: Path | None = None
    token_mint: str | None = None
    log_origin: str | None = Field(default=None, pattern=r"^[!-*,-~]{1,128}$")
    host_delay_ms: int = Field(default=1_000, ge=0, le=3_600_000)
    host_max_concurrent: int = Field(default=2, ge=1, le=64)
    max_nodes: int = Field(default=10_000, ge=1)
    cleaning_workers: int = Field(default=2, ge=1, le=64)
    checkpoint_ms: int | None = Field(default=None, ge=100)
    credit_hold_ms: int | None = Field(default=None, ge=0)
    epoch_ms: int | None = Field(default=None, ge=100)
    job_deadline_ms: int = Field(default=24 * 3_600_000, ge=1_000)
    drain_ms: int = Field(default=10_000, ge=0)

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
    try:
        settings = DispatcherSettings()
    except ValidationError as error:
        lines = [
            f"MEADOW_{'_'.join(str(part) for part in fault['loc']).upper()}={fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise SetupError("the environment has values that cannot be used:\n  " + "\n  ".join(lines)) from error
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.served_hosts:
        raise SetupError(
            f"MEADOW_HOST={settings.host} can be reached from elsewhere: name the hosts that nodes dial in "
            "MEADOW_PUBLIC_HOSTS, separated by commas, as gateway.example.org or 192.0.2.7:8420"
        )
    return settings
