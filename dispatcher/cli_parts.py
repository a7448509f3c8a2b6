"""Puts a dispatcher together on its foundations."""

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from aiohttp import web

from cleaning.adapters.worker_pool import WorkerPool
from dispatcher.adapters.console_page import ConsolePage
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.health import Health
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_errors import json_crashes, json_errors
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.measured_frontier import MeasuredFrontier
from dispatcher.adapters.measured_objects import MeasuredObjects
from dispatcher.adapters.node_gateway import NodeGateway
from dispatcher.adapters.prometheus_metrics import Metrics
from dispatcher.adapters.request_tracing import trace_requests
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.balance_news import BalanceNews
from dispatcher.cli_foundations import Foundations
from dispatcher.content_sweep import ContentSweep
from dispatcher.core import Core, Rules, World, build_core
from dispatcher.errors import StoreError
from dispatcher.gate import PacePolicy
from dispatcher.log_service import LogService
from dispatcher.payout_service import PayoutService
from dispatcher.retention import Retention
from dispatcher.scheduler import Randomness, Scheduler
from dispatcher.settings import (
    REAL_CHECKPOINT_MS,
    REAL_EPOCH_MS,
    REAL_HOLD_MS,
    SIMULATED_CHECKPOINT_MS,
    SIMULATED_EPOCH_MS,
    SIMULATED_HOLD_MS,
    DispatcherSettings,
)
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from provenance.checkpoint import NoteSigner

_log = structlog.get_logger("meadow")
_REQUEST_BYTES = 16 * 1024 * 1024
_UPKEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """The parts that have a life of their own, and the application that serves the rest.

    `loops` run for as long as it works; `log`, `payouts`, `retention`, `sweep` and the core's reaper do what one
    dispatcher at a time does. `checkpoint_s` is how often a checkpoint may be made.
    """

    app: web.Application
    core: Core
    gateway: NodeGateway
    log: LogService
    payouts: PayoutService
    retention: Retention
    sweep: ContentSweep
    checkpoint_s: float
    loops: dict[str, Coroutine[None, None, None]]


async def assemble(
    stack: AsyncExitStack, base: Foundations, settings: DispatcherSettings, *, led: Callable[[], Iterable[str]]
) -> Dispatcher:
    """Put a dispatcher together; what must be closed is left with `stack`. `led` names the duties it leads now."""
    # Tokens that were named have a value, whatever the server says of itself.
    simulated = base.facts.simulator and settings.token_mint is None
    core = await _build_core(stack, base, settings, simulated=simulated)
    ledger, objects, telemetry = core.world.ledger, core.world.objects, core.world.telemetry
    gateway = NodeGateway(
        nodes=core.nodes,
        exchange=core.exchange,
        ledger=ledger,
        signer=base.signer,
        clock=now_ms,
        new_id=new_id,
        max_nodes=settings.max_nodes,
        hosts=settings.serves,
        secure=settings.tls_in_front,
        max_per_address=settings.max_per_address,
        accepts_per_s=settings.accepts_per_s,
        subnet_key=base.stores.subnet_key,
        telemetry=telemetry,
    )
    checkpoint_ms = _default(settings.checkpoint_ms, SIMULATED_CHECKPOINT_MS if simulated else REAL_CHECKPOINT_MS)
    log = LogService(
        ledger=ledger,
        store=base.stores.tiles,
        origin=base.origin,
        signer=NoteSigner(base.origin, base.keys.log),
        chain=base.chain,
        clock=now_ms,
        bus=base.stores.bus,
    )
    payouts = PayoutService(
        ledger=ledger,
        store=base.stores.tiles,
        origin=base.origin,
        chain=base.chain,
        facts=base.facts,
        clock=now_ms,
        epoch_ms=_default(settings.epoch_ms, SIMULATED_EPOCH_MS if simulated else REAL_EPOCH_MS),
        bus=base.stores.bus,
    )
    app = web.Application(client_max_size=_REQUEST_BYTES, middlewares=[trace_requests(core.world.tracing), json_errors])
    app.on_response_prepare.append(json_crashes)
    datasets = DatasetBuilder(
        ledger=ledger,
        objects=objects,
        log=log,
        signer=base.signer,
        origin=base.origin,
        store=base.stores.datasets,
        clock=now_ms,
        new_id=new_id,
    )
    stack.push_async_callback(datasets.close)
    intake = core.intake(datasets, key_secret=base.keys.api_key_secret)
    app.add_routes(LabApi(intake, log_origin=base.origin, test_sites=base.test_sites).routes())
    app.add_routes(LogFiles(base.stores.tiles).routes())
    console = ConsolePage(ledger=ledger, nodes=core.nodes, facts=base.facts, origin=base.origin, clock=now_ms)
    app.add_routes(console.routes())
    Metrics(
        ledger=ledger,
        frontier=core.world.frontier,
        nodes=core.nodes,
        cleaning=core.cleaning,
        telemetry=telemetry,
        led=led,
    ).add_to(app)
    app.router.add_get("/healthz", Health(ledger=ledger, frontier=core.world.frontier).handle)
    gateway.add_routes(app)
    news = BalanceNews(balances=core.balances, bus=base.stores.bus)
    return Dispatcher(
        app=app,
        core=core,
        gateway=gateway,
        log=log,
        payouts=payouts,
        retention=Retention(ledger=ledger, objects=objects, clock=now_ms),
        sweep=ContentSweep(ledger=ledger, objects=objects, clock=now_ms),
        checkpoint_s=checkpoint_ms / 1000,
        loops={
            "scheduler": core.scheduler.run(),
            "upkeep": _upkeep(core.scheduler),
            "attendance": core.attendance.run(),
            "cleaning": core.cleaning.run(),
            "reputations": core.reputations.run(),
            "balances": news.run(),
            "subnet key": base.stores.subnet_key.run(),
            "clock": base.stores.clock.run(),
            "certificate": base.certificates.follow(base.signer),
        },
    )


async def _build_core(
    stack: AsyncExitStack, base: Foundations, settings: DispatcherSettings, *, simulated: bool
) -> Core:
    telemetry = Telemetry()
    if isinstance(base.stores.ledger, SqlLedger):
        base.stores.ledger.count_in(telemetry)
    tracing = Tracing()
    if settings.otlp_endpoint is not None:
        from dispatcher.adapters.otel_traces import OtelTracing

        tracing = OtelTracing(settings.otlp_endpoint, dispatcher=base.dispatcher, telemetry=telemetry)
        stack.push_async_callback(asyncio.to_thread, tracing.close)
    robots = HttpRobots(now_ms, test_sites=base.test_sites)
    stack.push_async_callback(robots.close)
    pool = await stack.enter_async_context(WorkerPool(settings.cleaning_workers))
    return build_core(
        World(
            ledger=base.stores.ledger,
            frontier=MeasuredFrontier(base.stores.frontier, telemetry),
            objects=MeasuredObjects(base.stores.objects, telemetry),
            presence=base.stores.presence,
            bus=base.stores.bus,
            robots=robots,
            cleaner=pool,
            signer=base.signer,
            clock=now_ms,
            new_id=new_id,
            randomness=Randomness(below=secrets.randbelow, fraction=random.SystemRandom().random),
            dispatcher=base.dispatcher,
            telemetry=telemetry,
            tracing=tracing,
        ),
        Rules(
            pace=PacePolicy(delay_ms=settings.host_delay_ms, max_concurrent=settings.host_max_concurrent),
            hold_ms=_default(settings.credit_hold_ms, SIMULATED_HOLD_MS if simulated else REAL_HOLD_MS),
            cleaning_workers=settings.cleaning_workers,
            job_deadline_ms=settings.job_deadline_ms,
            test_sites=base.test_sites,
        ),
    )


async def _upkeep(scheduler: Scheduler) -> None:
    while True:
        try:
            await scheduler.take_back_late()
        except StoreError as error:
            _log.warning("upkeep_failed", error=str(error))
        await asyncio.sleep(_UPKEEP_S)


def _default(value: int | None, default: int) -> int:
    return default if value is None else value
