"""A dispatcher that kills itself with signal 9 at a named point, `PART.METHOD:before` or `:after`, one of `POINTS`.

The product has no such points: this module wraps the methods of its adapters, whose calls are what a dispatcher commits
and sends. A method of several classes, of which a dispatcher uses one, is one point.
"""

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

PARTS = {
    "ledger": (
        ("dispatcher.adapters.sql_ledger:SqlLedger",),
        (
            "submit",
            "store_result",
            "complete",
            "refuse",
            "note_attempt",
            "node_seen",
            "lead",
            "add_checkpoint",
            "set_anchor",
            "confirm_credits",
            "open_epoch",
            "mark_epoch_paid",
            "put_transaction",
            "set_transaction_state",
        ),
    ),
    # Before and after a group's statements, inside its transaction; and before it begins and after it is committed.
    "transaction": (
        ("dispatcher.adapters.sqlite_executor:", "dispatcher.adapters.postgres_executor:"),
        ("run_group",),
    ),
    "group": (
        (
            "dispatcher.adapters.sqlite_executor:SqliteExecutor",
            "dispatcher.adapters.postgres_executor:PostgresExecutor",
        ),
        ("_commit",),
    ),
    "frontier": (
        ("dispatcher.adapters.redis_frontier:RedisFrontier",),
        ("add", "lease", "assign", "finish", "release", "set_pace", "back_off", "mark_rebuilt"),
    ),
    "objects": (("dispatcher.adapters.local_objects:LocalObjects",), ("put",)),
    "link": (("dispatcher.adapters.node_connection:NodeConnection",), ("send_message", "send_statement")),
    "tiles": (("provenance.adapters.local_tiles:LocalTiles",), ("write_once", "replace")),
    "chain": (("dispatcher.adapters.solana_chain:SolanaChain",), ("anchor", "pay")),
    "rpc": (("provenance.adapters.solana_rpc:SolanaRpc",), ("call",)),
}
"""Which classes' methods are wrapped."""

POINTS = tuple(
    f"{part}.{method}:{when}"
    for part, (_, methods) in PARTS.items()
    for method in methods
    for when in ("before", "after")
)


def arm(point: str, count: int) -> None:
    """Wrap the point's function so that its `count`-th call is the last thing this process does."""
    place, _, when = point.partition(":")
    part, _, name = place.partition(".")
    for owner in PARTS[part][0]:
        module_name, _, class_name = owner.partition(":")
        module = importlib.import_module(module_name)
        _wrap(getattr(module, class_name) if class_name else module, name, when, count)


def _wrap(owner: Any, name: str, when: str, count: int) -> None:
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def reach(call: int, moment: str) -> None:
        if call == count and moment == when:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    def crashing(*arguments: Any, **named: Any) -> Any:
        call = next(calls)
        reach(call, "before")
        answer = original(*arguments, **named)
        reach(call, "after")
        return answer

    @functools.wraps(original)
    async def crashing_later(*arguments: Any, **named: Any) -> Any:
        call = next(calls)
        reach(call, "before")
        answer = await original(*arguments, **named)
        reach(call, "after")
        return answer

    setattr(owner, name, crashing_later if inspect.iscoroutinefunction(original) else crashing)


def meadow(arguments: Sequence[str]) -> None:
    """Run the command `meadow` in this process."""
    from dispatcher.command import main

    sys.argv = ["meadow", *arguments]
    main()
