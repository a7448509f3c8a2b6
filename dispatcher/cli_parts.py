"""Puts a dispatcher together on its foundations."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from aiohttp import web

from cleaning.adapters.worker_pool import WorkerPool
from dispatcher.adapters.api_address import ApiAddress
from dispatcher.adapters.api_operations import OPERATIONS
from dispatcher.adapters.chromium_camera import ChromiumCamera
from dispatcher.adapters.console_page import ConsolePage
from dispatcher.adapters.dataset_api import DatasetApi
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.health import Health
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_auth import tell_rate
from dispatcher.adapters.lab_errors import json_crashes, json_errors
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.measured_frontier import MeasuredFrontier
from dispatcher.adapters.measured_objects import MeasuredObjects
from dispatcher.adapters.node_gateway import NodeGateway
from dispatcher.adapters.openai_model import OpenAiModel
from dispatcher.adapters.openapi_pages import OpenapiPages
from dispatcher.adapters.picture_files import PictureFiles
from dispatcher.adapters.prometheus_metrics import Metrics
from dispatcher.adapters.proof_files import ProofFiles
from dispatcher.adapters.quick_page import QuickPage
from dispatcher.adapters.request_tracing import trace_requests
from dispatcher.adapters.schedule_api import ScheduleApi
from dispatcher.adapters.search_api import SearchApi
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.system_clock import monotonic_ms, new_id, now_ms
from dispatcher.adapters.webhook_api import WebhookApi
from dispatcher.adapters.webhook_sender import WebhookSender
from dispatcher.answer_cache import AnswerCache
from dispatcher.balance_news import BalanceNews
from dispatcher.cli_accounts import serve_accounts
from dispatcher.cli_crawls import assemble_crawls
from dispatcher.cli_foundations import Foundations
from dispatcher.content_sweep import ContentSweep
from dispatcher.core import Core, Rules, World, build_core
from dispatcher.dataset_desk import DatasetDesk
from dispatcher.dataset_sweep import DatasetSweep
from dispatcher.errors import SetupError, StoreError
from dispatcher.gate import PacePolicy
from dispatcher.log_coverage import LogCoverages
from dispatcher.log_service import LogService
from dispatcher.page_evidence import PageEvidence
from dispatcher.payout_service import PayoutService
from dispatcher.proof_service import ProofService
from dispatcher.pruning import Pruning
from dispatcher.recent_callers import RecentCallers
from dispatcher.retention import Retention
from dispatcher.robots_evidence import RobotsUsages
from dispatcher.schedule_duty import ScheduleDuty
from dispatcher.scheduled_requests import ScheduledRequests
from dispatcher.scheduler import Randomness, Scheduler
from dispatcher.search_index import SearchService
from dispatcher.settings import (
    REAL_CHECKPOINT_MS,
    REAL_EPOCH_MS,
    REAL_HOLD_MS,
    SIMULATED_CHECKPOINT_MS,
    SIMULATED_EPOCH_MS,
    SIMULATED_HOLD_MS,
    DispatcherSettings,
)
from dispatcher.settling import Settling
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from dispatcher.webhook_bodies import EventBodies
from dispatcher.webhook_making import EventMaker
from dispatcher.webhook_sending import WebhookDuty
from provenance.checkpoint import NoteSigner

_log = structlog.get_logger("meadow")
_REQUEST_BYTES = 16 * 1024 * 1024
_UPKEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """The parts that have a life of their own, and the application that serves the rest.

    `loops` run for as long as it works; `log`, `payouts`, `pruning`, `retention`, `settling`, `sweep`, `webhooks` and
    the core's reaper do what one dispatcher at a time does. `checkpoint_s` is how often a checkpoint may be made.
    """

    app: web.Application
    core: Core
    gateway: NodeGateway
    log: LogService
    payouts: PayoutService
    retention: Retention
    settling: Settling
    sweep: ContentSweep
    dataset_sweep: DatasetSweep
    pruning: Pruning
    search: SearchService
    sockets: JobSockets
    webhooks: WebhookDuty
    schedules: ScheduleDuty
    checkpoint_s: float
    loops: dict[str, Coroutine[None, None, None]]


async def assemble(
    stack: AsyncExitStack, base: Foundations, settings: DispatcherSettings, *, led: Callable[[], Iterable[str]]
) -> Dispatcher:
    """Put a dispatcher together; what must be closed is left with `stack`. `led` names the duties it leads now."""
    # Tokens that were named have a value, whatever the server says of itself.
    simulated = base.facts.simulator and settings.token_mint is None
    pool = await stack.enter_async_context(WorkerPool(settings.cleaning_workers))
    core = await _build_core(stack, base, settings, pool, simulated=simulated)
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
    tracing = core.world.tracing
    spans = [trace_requests(tracing)] if tracing.is_recording else []
    app = web.Application(client_max_size=_REQUEST_BYTES, middlewares=[*spans, json_errors])
    app.on_response_prepare.extend((json_crashes, tell_rate))
    datasets = DatasetBuilder(
        ledger=ledger,
        objects=objects,
        log=log,
        signer=base.signer,
        origin=base.origin,
        store=base.stores.datasets,
        clock=now_ms,
        new_id=new_id,
        holder=base.dispatcher,
    )
    stack.push_async_callback(datasets.close)
    coverages = LogCoverages(ledger, base.stores.tiles, monotonic=time.monotonic)
    evidence = PageEvidence(coverages, RobotsUsages(ledger))
    intake = core.intake(
        key_secret=base.keys.api_key_secret,
        evidence=evidence,
        rates=base.stores.rates,
        default_per_minute=settings.key_rate_per_minute,
        recent=RecentCallers(monotonic_ms=monotonic_ms),
    )
    sockets = JobSockets(service=intake, pages=intake, ledger=ledger, events=core.events, log_origin=base.origin)
    address = ApiAddress(settings.public_url, is_secure=settings.tls_in_front)
    lab = LabApi(
        intake,
        log_origin=base.origin,
        test_sites=base.test_sites,
        has_model=core.world.model is not None,
        has_browser=core.world.camera is not None,
        address=address,
        sockets=sockets,
        answers=AnswerCache(monotonic=time.monotonic),
    )
    sender = WebhookSender(test_sites=base.test_sites)
    stack.push_async_callback(sender.close)
    webhooks = WebhookDuty(
        ledger=ledger,
        maker=EventMaker(ledger=ledger, pages=intake, clock=now_ms, new_id=new_id),
        bodies=EventBodies(intake, log_origin=base.origin, public_url=address.public_url),
        sender=sender,
        bus=base.stores.bus,
        clock=now_ms,
        server_secret=base.keys.api_key_secret,
    )
    webhook_api = WebhookApi(
        intake,
        ledger,
        server_secret=base.keys.api_key_secret,
        clock=now_ms,
        base_url=lab.base_url,
        redelivered=webhooks.wake,
    )
    crawls = assemble_crawls(core, pool, intake=intake, pages=lab, sockets=sockets)
    requests = ScheduledRequests(
        batches=intake,
        crawls=crawls.service,
        patterns=crawls.patterns,
        test_sites=base.test_sites,
        has_model=core.world.model is not None,
        has_browser=core.world.camera is not None,
    )
    schedules = ScheduleDuty(ledger=ledger, keys=ledger, desk=requests, clock=now_ms)
    schedule_api = ScheduleApi(intake, ledger, schedules, requests, clock=now_ms, new_id=new_id, base_url=lab.base_url)
    app.add_routes([*lab.routes(), *crawls.routes, *webhook_api.routes(), *schedule_api.routes()])
    serve_accounts(app, core, service=intake, pages=lab, key_secret=base.keys.api_key_secret)
    desk = DatasetDesk(
        ledger=ledger,
        batches=intake,
        store=base.stores.datasets,
        clock=now_ms,
        new_id=new_id,
        wake=datasets.wake,
        test_sites=base.test_sites,
    )
    dataset_api = DatasetApi(
        intake,
        desk,
        log_origin=base.origin,
        test_sites=base.test_sites,
        address=address,
        has_model=core.world.model is not None,
        has_browser=core.world.camera is not None,
    )
    app.add_routes(dataset_api.routes())
    app.add_routes(PictureFiles(intake, ledger, objects).routes())
    app.add_routes(QuickPage(lab).routes())
    app.add_routes(OpenapiPages(OPERATIONS, address=address).routes())
    search = SearchService(index=base.stores.search, ledger=ledger, objects=objects)
    app.add_routes(SearchApi(intake, search).routes())
    app.add_routes(ProofFiles(ProofService(ledger, coverages, base.stores.tiles)).routes())
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
        settling=Settling(ledger=ledger, events=core.events, clock=now_ms),
        retention=Retention(ledger=ledger, objects=objects, clock=now_ms),
        sweep=ContentSweep(ledger=ledger, objects=objects, clock=now_ms),
        dataset_sweep=DatasetSweep(ledger=ledger, store=base.stores.datasets, clock=now_ms),
        pruning=Pruning(ledger=ledger, clock=now_ms),
        search=search,
        sockets=sockets,
        webhooks=webhooks,
        schedules=schedules,
        checkpoint_s=checkpoint_ms / 1000,
        loops={
            "scheduler": core.scheduler.run(),
            "upkeep": _upkeep(core.scheduler),
            "attendance": core.attendance.run(),
            "cleaning": core.cleaning.run(),
            "datasets": datasets.run(),
            "crawls": crawls.engine.run(),
            "reputations": core.reputations.run(),
            "balances": news.run(),
            "subnet key": base.stores.subnet_key.run(),
            "clock": base.stores.clock.run(),
            "certificate": base.certificates.follow(base.signer),
        },
    )


async def _build_core(
    stack: AsyncExitStack, base: Foundations, settings: DispatcherSettings, pool: WorkerPool, *, simulated: bool
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
    model = _model(settings)
    if model is not None:
        stack.push_async_callback(model.close)
    camera = _camera(settings)
    if camera is not None:
        stack.push_async_callback(camera.close)
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
            model=model,
            camera=camera,
        ),
        Rules(
            pace=PacePolicy(delay_ms=settings.host_delay_ms, max_concurrent=settings.host_max_concurrent),
            hold_ms=_default(settings.credit_hold_ms, SIMULATED_HOLD_MS if simulated else REAL_HOLD_MS),
            cleaning_workers=settings.cleaning_workers,
            job_deadline_ms=settings.job_deadline_ms,
            test_sites=base.test_sites,
        ),
    )


def _model(settings: DispatcherSettings) -> OpenAiModel | None:
    if settings.model_url is None or settings.model_name is None:
        return None
    key = settings.model_key.get_secret_value() if settings.model_key is not None else None
    return OpenAiModel(settings.model_url, name=settings.model_name, key=key)


def _camera(settings: DispatcherSettings) -> ChromiumCamera | None:
    executable = settings.screenshot_browser
    if executable is None:
        return None
    if not os.access(executable, os.X_OK) or executable.is_dir():
        raise SetupError(
            f"MEADOW_SCREENSHOT_BROWSER={executable} is no program that can be run; name a Chromium's executable, or"
            " leave it unset: then pictures of pages are refused"
        )
    if not settings.screenshot_sandbox:
        _log.warning("browser_without_sandbox", advice="run as another account than root, without this setting")
    return ChromiumCamera(executable, sandbox=settings.screenshot_sandbox)


async def _upkeep(scheduler: Scheduler) -> None:
    while True:
        try:
            await scheduler.take_back_late()
        except StoreError as error:
            _log.warning("upkeep_failed", error=str(error))
        await asyncio.sleep(_UPKEEP_S)


def _default(value: int | None, default: int) -> int:
    return default if value is None else value
