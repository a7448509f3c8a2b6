"""A dispatcher that notes what it knows of hosts, and when: `python -m tests.faults.noting FILE ARGUMENTS...`.

ARGUMENTS are those of the command `meadow`. The calls of the frontier that decide on visits are written to FILE, one
JSON object a line, with the wall clock before and after: a drill can then tell a visit that was already under way when
a site asked for patience from one that should not have been made.
"""

import functools
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dispatcher.adapters.redis_frontier import RedisFrontier
from dispatcher.frontier import FrontierJob, Lease


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has answered. `moment_ms` is a hop's turn, or the end of a back-off; 0 for a lease."""

    call: str
    host: str
    job_id: str = ""
    moment_ms: int = 0
    began_ms: float
    ended_ms: float


def _now_ms() -> float:
    return time.time_ns() / 1e6


def arm(file: io.BufferedWriter) -> None:
    """Wrap the frontier's methods."""

    def write(*notes: Note) -> None:
        file.writelines(msgspec.json.encode(note) + b"\n" for note in notes)
        file.flush()

    def leased(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def lease(*arguments: Any, **named: Any) -> list[Lease]:
            began_ms = _now_ms()
            leases: list[Lease] = await original(*arguments, **named)
            ended_ms = _now_ms()
            write(
                *(
                    Note(call="lease", host=each.host, job_id=each.job_id, began_ms=began_ms, ended_ms=ended_ms)
                    for each in leases
                )
            )
            return leases

        return lease

    def told(original: Callable[..., Any], call: str) -> Callable[..., Any]:
        @functools.wraps(original)
        async def tell(frontier: RedisFrontier, host: str, *arguments: Any, **named: Any) -> int:
            began_ms = _now_ms()
            moment_ms: int = await original(frontier, host, *arguments, **named)
            write(Note(call=call, host=host, moment_ms=moment_ms, began_ms=began_ms, ended_ms=_now_ms()))
            return moment_ms

        return tell

    def led(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def lease_now(frontier: RedisFrontier, job: FrontierJob, **named: Any) -> int:
            began_ms = _now_ms()
            moment_ms: int = await original(frontier, job, **named)
            if moment_ms == 0:
                write(Note(call="reserve_visit", host=job.host, began_ms=began_ms, ended_ms=_now_ms()))
            return moment_ms

        return lease_now

    wrapped: Any = RedisFrontier
    wrapped.lease_now = led(RedisFrontier.lease_now)
    wrapped.lease = leased(RedisFrontier.lease)
    wrapped.back_off = told(RedisFrontier.back_off, "back_off")
    wrapped.reserve_visit = told(RedisFrontier.reserve_visit, "reserve_visit")


def main() -> None:
    """Arm, then run the command."""
    name, *arguments = sys.argv[1:]
    sys.argv = ["meadow", *arguments]
    from dispatcher.command import main as meadow

    with Path(name).open("ab") as file:
        arm(file)
        meadow()


if __name__ == "__main__":
    main()
