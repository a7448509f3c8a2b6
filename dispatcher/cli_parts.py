"""Puts the dispatcher together from its stores and keys."""

import random
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from cleaning.adapters.worker_pool import WorkerPool
from dispatcher.adapters.console_page import ConsolePage
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.health import Health
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_errors import json_crashes, json_errors
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.node_gateway import NodeGateway
from dispatcher.adapters.operator_keys import OperatorKeys
from dispatcher.adapters.prometheus_metrics import Metrics
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.balances import Balances
from dispatcher.batch_events import BatchEvents
from dispatcher.chain import Chain, ChainFacts
from dispatcher.cleaning_service import CleaningService
from dispatcher.exchange import Exchange
from dispatcher.frontier import Frontier
from dispatcher.gate import Gate, PacePolicy
from dispatcher.intake import Intake
from dispatcher.job_signer import JobSigner
from dispatcher.ledger import Ledger
from dispatcher.log_service import LogService
from dispatcher.node_sessions import Nodes
from dispatcher.payout_service import PayoutService
from dispatcher.reputation_service import ReputationService
from dispatcher.robots_cache import RobotsCache
from dispatcher.scheduler import Exclusions, Randomness, Scheduler
from dispatcher.settings import (
    REAL_CHECKPOINT_MS,
    REAL_EPOCH_MS,
    REAL_HOLD_MS,
    SIMULATED_CHECKPOINT_MS,
    SIMULATED_EPOCH_MS,
    SIMULATED_HOLD_MS,
    DispatcherSettings,
)
from dispatcher.settlement import Settlement
from protocol.urls import TestSites
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner

_REQUEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Foundations:
    """What a dispatcher stands on: its stores, its keys, its chain. `origin` names the record log."""

    data_dir: Path
    ledger: Ledger
    frontier: Frontier
    keys: OperatorKeys
    signer: JobSigner
    chain: Chain
    facts: ChainFacts
    tiles: LocalTiles
    origin: str
    test_sites: TestSites


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """The parts that have a life of their own, and the application that serves the rest."""

    app: web.Application
    nodes: Nodes
    gateway: NodeGateway
    scheduler: Scheduler
    cleaning: CleaningService
    log: LogService
    payouts: PayoutService
    reputations: ReputationService


async def assemble(stack: AsyncExitStack, base: Foundations, settings: DispatcherSettings) -> Dispatcher:
    """Put a dispatcher together; what must be closed is left with `stack`."""
    ledger, frontier, tiles, signer = base.ledger, base.frontier, base.tiles, base.signer
    # Tokens that were named have a value, whatever the server says of itself.
    simulated = base.facts.simulator and settings.token_mint is None
    events, nodes, exclusions = BatchEvents(), Nodes(), Exclusions()
    randomness = Randomness(below=secrets.randbelow, fraction=random.SystemRandom().random)
    objects = LocalObjects(base.data_dir / "objects")
    robots = HttpRobots(now_ms, test_sites=base.test_sites)
    stack.push_async_callback(robots.close)
    policy = PacePolicy(delay_ms=settings.host_delay_ms, max_concurrent=settings.host_max_concurrent)
    gate = Gate(RobotsCache(robots, now_ms), frontier, policy, test_sites=base.test_sites)
    pool = WorkerPool(settings.cleaning_workers)
    await stack.enter_async_context(pool)
    stack.push_async_callback(objects.close)
    cleaning = CleaningService(
        ledger=ledger,
        objects=objects,
        cleaner=pool,
        events=events,
        clock=now_ms,
        workers=settings.cleaning_workers,
    )
    scheduler = Scheduler(
        ledger=ledger,
        frontier=frontier,
        nodes=nodes,
        gate=gate,
        signer=signer,
        events=events,
        exclusions=exclusions,
        clock=now_ms,
        randomness=randomness,
    )
    settlement = Settlement(
        ledger=ledger,
        frontier=frontier,
        objects=objects,
        clock=now_ms,
        hold_ms=_default(settings.credit_hold_ms, SIMULATED_HOLD_MS if simulated else REAL_HOLD_MS),
        test_sites=base.test_sites,
    )
    balances = Balances(ledger=ledger, nodes=nodes, clock=now_ms)
    reputations = ReputationService(ledger=ledger, nodes=nodes, clock=now_ms)
    exchange = Exchange(
        ledger=ledger,
        frontier=frontier,
        nodes=nodes,
        gate=gate,
        scheduler=scheduler,
        settlement=settlement,
        exclusions=exclusions,
        balances=balances,
        reputations=reputations,
        fetched=cleaning.fetched,
        clock=now_ms,
        randomness=randomness,
    )
    gateway = NodeGateway(
        nodes=nodes,
        exchange=exchange,
        ledger=ledger,
        signer=signer,
        clock=now_ms,
        new_id=new_id,
        max_nodes=settings.max_nodes,
        hosts=settings.serves,
        secure=settings.tls_in_front,
    )
    log = LogService(
        ledger=ledger,
        store=tiles,
        origin=base.origin,
        signer=NoteSigner(base.origin, base.keys.log),
        chain=base.chain,
        clock=now_ms,
        interval_ms=_default(settings.checkpoint_ms, SIMULATED_CHECKPOINT_MS if simulated else REAL_CHECKPOINT_MS),
    )
    payouts = PayoutService(
        ledger=ledger,
        store=tiles,
        origin=base.origin,
        chain=base.chain,
        facts=base.facts,
        clock=now_ms,
        epoch_ms=_default(settings.epoch_ms, SIMULATED_EPOCH_MS if simulated else REAL_EPOCH_MS),
        changed=balances.tell_all,
    )
    datasets = DatasetBuilder(
        ledger=ledger,
        objects=objects,
        log=log,
        signer=signer,
        origin=base.origin,
        folder=base.data_dir / "datasets",
        clock=now_ms,
        new_id=new_id,
    )
    stack.push_async_callback(datasets.close)
    intake = Intake(
        ledger=ledger,
        frontier=frontier,
        objects=objects,
        nodes=nodes,
        datasets=datasets,
        events=events,
        wake=scheduler.wake,
        rebuild_frontier=scheduler.request_rebuild,
        key_secret=base.keys.api_key_secret,
        clock=now_ms,
        new_id=new_id,
        job_deadline_ms=settings.job_deadline_ms,
    )
    app = web.Application(client_max_size=_REQUEST_BYTES, middlewares=[json_errors])
    app.on_response_prepare.append(json_crashes)
    app.add_routes(LabApi(intake, log_origin=base.origin, test_sites=base.test_sites).routes())
    app.add_routes(LogFiles(base.data_dir / "log").routes())
    app.add_routes(ConsolePage(ledger=ledger, nodes=nodes, facts=base.facts, origin=base.origin, clock=now_ms).routes())
    metrics = Metrics(ledger=ledger, frontier=frontier, nodes=nodes, cleaning=cleaning)
    app.router.add_get("/metrics", metrics.handle)
    app.router.add_get("/healthz", Health(ledger=ledger, frontier=frontier).handle)
    gateway.add_routes(app)
    await scheduler.rebuild()
    return Dispatcher(app, nodes, gateway, scheduler, cleaning, log, payouts, reputations)


def _default(value: int | None, default: int) -> int:
    return default if value is None else value
