"""A dispatcher at work: its server, its loops, the duties it may lead, and how it leaves the network."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from dispatcher.adapters.http_server import HttpServer
from dispatcher.adapters.system_clock import now_ms
from dispatcher.certificate_service import RENEW_EVERY_S
from dispatcher.cli_foundations import Foundations, lay_foundations
from dispatcher.cli_parts import Dispatcher, assemble
from dispatcher.ending_tasks import end_tasks
from dispatcher.leader import Duties, Duty
from dispatcher.ledger import Leadership, Ledger
from dispatcher.page_options import MAX_TIMEOUT_MS
from dispatcher.settings import DispatcherSettings
from protocol.urls import TestSites

_log = structlog.get_logger("meadow")
_UPKEEP_S = 1.0
_SWEEP_S = 10.0
_SEARCH_S = 2.0
_QUIET_S = 1.0
"""How long a connection that was accepted just before the port was left has to ask something."""
_BUSY_S = 5.0
_LOOK_S = 0.05
_LONGEST_SCRAPE_S = MAX_TIMEOUT_MS / 1000 + 5.0


@dataclass(slots=True)
class RunningDispatcher:
    """A dispatcher that serves. `failed` is set when one of its loops fails."""

    foundations: Foundations
    parts: Dispatcher
    server: HttpServer
    duties: asyncio.Task[None]
    failed: asyncio.Future[None]
    host: str
    drain_s: float

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://{url_host(self.host)}:{self.server.port}"

    async def drain_nodes(self) -> None:
        """Lease no more; nodes finish what they have in hand, for a while, and are told to go."""
        self.parts.core.scheduler.stop()
        await self.parts.gateway.drain(self.drain_s)

    async def resign(self) -> None:
        """Give up every duty, so that another dispatcher takes it at once."""
        await end_tasks([self.duties])

    async def retire(self) -> None:
        """Leave a network that goes on, without a failed request: see `http_server` for what clients notice.

        Requests that wait for a page are answered when it comes, from whichever dispatcher.
        """
        await self.resign()
        await asyncio.gather(self.server.leave(), self.drain_nodes(), self.parts.sockets.close())
        await self.server.quiet(at_least_s=_QUIET_S, at_most_s=self.drain_s)
        await self.server.close(busy_s=_LONGEST_SCRAPE_S)
        await self._clean_what_is_in_hand()

    async def _clean_what_is_in_hand(self) -> None:
        """Others would clean these pages too, but only once they have waited for long."""
        until_s = asyncio.get_running_loop().time() + self.drain_s
        while not self.parts.core.cleaning.is_idle and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110 (once in a process's life)
            await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def running_dispatcher(
    settings: DispatcherSettings, *, ledger: Ledger, work_dir: Path, test_sites: TestSites, is_shared: bool
) -> AsyncIterator[RunningDispatcher]:
    """Run one dispatcher on its ledger and the stores of `settings`, all of them named; `is_shared` shares its port
    with others of this machine.

    Leaving the context stops it at once: requests get `_BUSY_S`. For more, call `drain_nodes` or `retire` before.
    """
    async with AsyncExitStack() as stack:
        foundations = await lay_foundations(stack, settings, ledger, work_dir=work_dir, test_sites=test_sites)
        leading: list[Duties] = []
        parts = await assemble(
            stack, foundations, settings, led=lambda: tuple(name for duties in leading for name in duties.led)
        )
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        _run(stack, parts.loops, failed)
        server = await HttpServer.start(
            parts.app, parts.gateway.protocol_factory, host=settings.host, port=settings.port, is_shared=is_shared
        )
        stack.push_async_callback(server.close, busy_s=_BUSY_S)
        stack.push_async_callback(parts.sockets.close)
        duties = Duties(
            _duties(foundations, parts),
            ledger=foundations.stores.ledger,
            bus=foundations.stores.bus,
            holder=foundations.dispatcher,
            clock=now_ms,
            fraction=random.SystemRandom().random,
            lease_ms=settings.duty_lease_ms,
        )
        leading.append(duties)
        (at_work,) = _run(stack, {"duties": duties.run()}, failed)
        yield RunningDispatcher(foundations, parts, server, at_work, failed, settings.host, settings.drain_ms / 1000)


def _duties(foundations: Foundations, parts: Dispatcher) -> list[Duty]:
    certificates = foundations.certificates
    return [
        Duty("reaper", _step(parts.core.reaper.once), _UPKEEP_S),
        Duty("log", parts.log.publish_once, parts.checkpoint_s),
        Duty("anchors", parts.log.anchor_pending, parts.checkpoint_s),
        Duty("payouts", parts.payouts.pay_once, parts.payouts.interval_s),
        Duty("certificates", certificates.renew, RENEW_EVERY_S),
        Duty("accounts", _step(parts.settling.once), _UPKEEP_S),
        Duty("webhooks", _step(parts.webhooks.run), _UPKEEP_S),
        Duty("schedules", _step(parts.schedules.once), _UPKEEP_S),
        Duty("retention", _step(parts.retention.once), _SWEEP_S),
        Duty("sweep", _step(parts.sweep.once), _SWEEP_S),
        Duty("datasets", _step(parts.dataset_sweep.once), _SWEEP_S),
        Duty("pruning", _step(parts.pruning.once), _SWEEP_S),
        Duty("search", _step(parts.search.once), _SEARCH_S),
    ]


def _step(once: Callable[[], Awaitable[object]]) -> Callable[[Leadership], Awaitable[None]]:
    """Make a duty's step of work that needs no fence: doing it twice at once does no harm."""

    async def step(_: Leadership) -> None:
        await once()

    return step


def _run(
    stack: AsyncExitStack, loops: dict[str, Coroutine[None, None, None]], failed: asyncio.Future[None]
) -> list[asyncio.Task[None]]:
    """Run coroutines until the stack is left; what one raises goes to `failed`."""
    tasks = [asyncio.create_task(work, name=name) for name, work in loops.items()]

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
            failed.set_exception(error)

    for task in tasks:
        task.add_done_callback(ended)

    stack.push_async_callback(end_tasks, tasks)
    return tasks


def url_host(host: str) -> str:
    """Return how a URL names the host that a dispatcher listens on."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared with, not bound to)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
