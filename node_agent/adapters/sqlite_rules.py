"""The owner's rules, the owner's consent and the pinned root key in SQLite.

`meadow-node pause` and its like write here; a running node reads it once a second. Nothing that comes from the network
is ever written to the rules.
"""

import json
from pathlib import Path
from typing import Literal

import msgspec

from node_agent.adapters.sqlite_file import connect, failing_as_journal_error
from node_agent.consent import Acceptance
from node_agent.errors import JournalFailed
from node_agent.owner_rules import ALL_PURPOSES, DEFAULT_CONCURRENT_JOBS, Hours, OwnerRules
from protocol.job import Purpose
from protocol.messages import Balance, Reputation

NodeState = Literal["connecting", "connected", "stopping", "stopped"]


class StoredLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's rules but for the blocked domains, as they stand in the file. Hours are `HH:MM-HH:MM`."""

    paused: bool = False
    purposes: tuple[Purpose, ...] = ALL_PURPOSES
    hours: tuple[str, ...] = ()
    daily_bytes: int | None = None
    daily_jobs: int | None = None
    per_second: float | None = None
    max_concurrent_jobs: int = DEFAULT_CONCURRENT_JOBS


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a running node says of itself for `meadow-node status`."""

    state: NodeState = "stopped"
    dispatcher: str = ""
    since_ms: int = 0
    process: int = 0
    node_key: str = ""
    wallet: str = ""
    test_sites: tuple[str, ...] = ()
    trouble: str = ""


class SqliteRules:
    """The owner's word. Every method raises JournalFailed where the file cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._database = connect(folder)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def rules(self) -> OwnerRules:
        """Read the rules as they stand now."""
        limits = self.limits()
        with failing_as_journal_error():
            blocked = frozenset(domain for (domain,) in self._database.execute("SELECT domain FROM blocked_domain"))
        return OwnerRules(
            paused=limits.paused,
            blocked_domains=blocked,
            purposes=frozenset(limits.purposes),
            hours=tuple(Hours.parse(hours) for hours in limits.hours),
            daily_bytes=limits.daily_bytes,
            daily_jobs=limits.daily_jobs,
            per_second=limits.per_second,
            max_concurrent_jobs=limits.max_concurrent_jobs,
        )

    def limits(self) -> StoredLimits:
        """Read the stored limits."""
        with failing_as_journal_error():
            rows = self._database.execute("SELECT name, value FROM owner_rule").fetchall()
        return _decode({name: json.loads(value) for name, value in rows}, StoredLimits)

    def set_limits(self, **changes: object) -> None:
        """Change the named limits; the others stay."""
        changed = _decode({**msgspec.to_builtins(self.limits()), **msgspec.to_builtins(changes)}, StoredLimits)
        values = msgspec.to_builtins(changed)
        with failing_as_journal_error():
            self._database.executemany(
                "INSERT INTO owner_rule VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [(name, json.dumps(values[name])) for name in changes],
            )

    def block(self, domain: str) -> None:
        """Block a domain (normalised) with its subdomains."""
        self._write("INSERT INTO blocked_domain VALUES (?) ON CONFLICT (domain) DO NOTHING", (domain,))

    def unblock(self, domain: str) -> bool:
        """Take a domain off the list; false where it was not on it."""
        with failing_as_journal_error():
            return self._database.execute("DELETE FROM blocked_domain WHERE domain = ?", (domain,)).rowcount > 0

    def acceptance(self) -> Acceptance | None:
        """Return the owner's consent, if there is one."""
        value = self._read("acceptance")
        return None if value is None else msgspec.json.decode(value, type=Acceptance)

    def accept(self, acceptance: Acceptance) -> None:
        """Record the owner's consent."""
        self._put("acceptance", msgspec.json.encode(acceptance).decode())

    def pinned_root(self) -> str | None:
        """Return the root key this folder trusts, if one is pinned."""
        return self._read("root_key")

    def pin_root(self, root_key: str) -> None:
        """Trust a root key from now on, and no other."""
        self._put("root_key", root_key)

    def standing(self) -> Standing:
        """Return what the node last said of itself."""
        value = self._read("standing")
        return Standing() if value is None else msgspec.json.decode(value, type=Standing)

    def set_standing(self, standing: Standing) -> None:
        """Say how the node stands."""
        self._put("standing", msgspec.json.encode(standing).decode())

    def balance(self) -> Balance | None:
        """Return the dispatcher's last word on what this node earned, None before the first."""
        value = self._read("balance")
        return None if value is None else msgspec.json.decode(value, type=Balance)

    def set_balance(self, balance: Balance) -> None:
        """Keep what the dispatcher says of this node's earnings; shown to the owner and used for nothing else."""
        self._put("balance", msgspec.json.encode(balance).decode())

    def reputation(self) -> Reputation | None:
        """Return the dispatcher's last word on this node's conduct, None before the first."""
        value = self._read("reputation")
        return None if value is None else msgspec.json.decode(value, type=Reputation)

    def set_reputation(self, reputation: Reputation) -> None:
        """Keep what the dispatcher says of this node's conduct; shown to the owner and used for nothing else."""
        self._put("reputation", msgspec.json.encode(reputation).decode())

    def _read(self, name: str) -> str | None:
        with failing_as_journal_error():
            row = self._database.execute("SELECT value FROM standing WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _put(self, name: str, value: str) -> None:
        self._write(
            "INSERT INTO standing VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        with failing_as_journal_error():
            self._database.execute(statement, values)


def _decode(values: dict[str, object], type_: type[StoredLimits]) -> StoredLimits:
    try:
        return msgspec.convert(values, type_)
    except msgspec.ValidationError as error:
        raise JournalFailed(f"the stored limits are damaged ({error}); set them again with 'meadow-node limits'") from (
            error
        )
