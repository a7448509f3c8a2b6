"""The heart of a dispatcher: the parts that bring jobs to nodes and results to the ledger, joined over the ports."""

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.attendance import Attendance
from dispatcher.balances import Balances
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.bus import Bus
from dispatcher.cancellations import Cancellations
from dispatcher.cleaning_service import CleaningService
from dispatcher.exchange import Exchange
from dispatcher.frontier import Frontier
from dispatcher.gate import Gate, PacePolicy
from dispatcher.hand_over import HandOver
from dispatcher.held_leases import HeldLeases
from dispatcher.hops import Hops
from dispatcher.intake import Intake
from dispatcher.job_endings import JobEndings
from dispatcher.job_queue import JobQueue
from dispatcher.job_signer import JobSigner
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import Nodes
from dispatcher.objects import ObjectStore
from dispatcher.owed_leases import OwedLeases
from dispatcher.page_bodies import Cleaner
from dispatcher.page_cache import PageCache
from dispatcher.page_evidence import PageEvidence
from dispatcher.page_model import Model
from dispatcher.page_pictures import Camera
from dispatcher.presence import Presence
from dispatcher.rate_limits import DEFAULT_PER_MINUTE, Rates
from dispatcher.reaper import Reaper
from dispatcher.recent_callers import RecentCallers
from dispatcher.reputation_service import ReputationService
from dispatcher.robots_cache import RobotsCache, RobotsSource
from dispatcher.robots_evidence import KeptRobots
from dispatcher.scheduler import Randomness, Scheduler
from dispatcher.settlement import FetchedPage, Settlement
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from dispatcher.waiting_pools import WaitingPools
from protocol.urls import NO_TEST_SITES, TestSites


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a core stands on. `dispatcher` names this run of this process; no other run of any has the same. `model` and
    `camera` are None where the operator configured none."""

    ledger: Ledger
    frontier: Frontier
    objects: ObjectStore
    presence: Presence
    bus: Bus
    robots: RobotsSource
    cleaner: Cleaner
    signer: JobSigner
    clock: Callable[[], int]
    new_id: Callable[[], str]
    randomness: Randomness
    dispatcher: str
    telemetry: Telemetry
    tracing: Tracing
    model: Model | None = None
    camera: Camera | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an operator decides. `hold_ms` is how long a credit stays pending."""

    pace: PacePolicy
    hold_ms: int
    cleaning_workers: int
    job_deadline_ms: int
    test_sites: TestSites = NO_TEST_SITES


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts. Those with a `run` are to be run: `scheduler`, `attendance`, `cleaning`, `reputations`.

    Once a second: `scheduler.take_back_late` at every dispatcher, `reaper.once` at one of them.
    """

    world: World
    rules: Rules
    nodes: Nodes
    events: BatchEvents
    options: BatchOptions
    gate: Gate
    endings: JobEndings
    scheduler: Scheduler
    reaper: Reaper
    attendance: Attendance
    cancellations: Cancellations
    settlement: Settlement
    balances: Balances
    reputations: ReputationService
    cleaning: CleaningService
    exchange: Exchange
    cache: PageCache
    queue: JobQueue

    def intake(
        self,
        *,
        key_secret: bytes,
        evidence: PageEvidence | None = None,
        rates: Rates | None = None,
        default_per_minute: int = DEFAULT_PER_MINUTE,
        recent: RecentCallers | None = None,
    ) -> Intake:
        """Make the front desk of this core. Without `evidence` documents do not say how far they are in the log;
        without `rates` keys have buckets of requests at this dispatcher alone; without `recent` the ledger is asked for
        a key with every request."""
        world = self.world
        return Intake(
            ledger=world.ledger,
            frontier=world.frontier,
            objects=world.objects,
            cancellations=self.cancellations,
            options=self.options,
            events=self.events,
            bus=world.bus,
            key_secret=key_secret,
            clock=world.clock,
            new_id=world.new_id,
            job_deadline_ms=self.rules.job_deadline_ms,
            tracing=world.tracing,
            evidence=evidence,
            rates=rates,
            default_per_minute=default_per_minute,
            recent=recent,
            telemetry=world.telemetry,
            queue=self.queue,
            cache=self.cache,
        )


def build_core(
    world: World,
    rules: Rules,
    *,
    events: BatchEvents | None = None,
    fetched: Callable[[FetchedPage], None] | None = None,
) -> Core:
    """Join the parts. `fetched` is told of pages to be cleaned in the place of the core's own cleaning."""
    ledger, frontier, bus, clock = world.ledger, world.frontier, world.bus, world.clock
    events, nodes, pools, options = events or BatchEvents(bus), Nodes(), WaitingPools(), BatchOptions(ledger)
    robots = RobotsCache(KeptRobots(world.robots, ledger, clock), clock)
    gate = Gate(robots, frontier, rules.pace, test_sites=rules.test_sites, bus=bus)
    owed = OwedLeases(frontier)
    endings = JobEndings(
        ledger=ledger,
        frontier=frontier,
        owed=owed,
        nodes=nodes,
        events=events,
        options=options,
        pools=pools,
        clock=clock,
        fraction=world.randomness.fraction,
        telemetry=world.telemetry,
        tracing=world.tracing,
    )
    hand_over = HandOver(
        frontier=frontier,
        nodes=nodes,
        gate=gate,
        signer=world.signer,
        endings=endings,
        clock=clock,
        below=world.randomness.below,
        telemetry=world.telemetry,
        tracing=world.tracing,
    )
    scheduler = Scheduler(
        ledger=ledger,
        frontier=frontier,
        owed=owed,
        nodes=nodes,
        hand_over=hand_over,
        endings=endings,
        options=options,
        pools=pools,
        bus=bus,
        clock=clock,
        telemetry=world.telemetry,
    )
    reaper = Reaper(
        ledger=ledger,
        frontier=frontier,
        endings=endings,
        options=options,
        bus=bus,
        clock=clock,
        telemetry=world.telemetry,
    )
    attendance = Attendance(presence=world.presence, bus=bus, nodes=nodes, dispatcher=world.dispatcher)
    settlement = Settlement(
        ledger=ledger,
        frontier=frontier,
        objects=world.objects,
        options=options,
        clock=clock,
        hold_ms=rules.hold_ms,
        test_sites=rules.test_sites,
    )
    balances = Balances(ledger=ledger, nodes=nodes, clock=clock)
    reputations = ReputationService(ledger=ledger, nodes=nodes, clock=clock)
    cleaning = CleaningService(
        ledger=ledger,
        objects=world.objects,
        cleaner=world.cleaner,
        events=events,
        clock=clock,
        workers=rules.cleaning_workers,
        fraction=world.randomness.fraction,
        options=options,
        model=world.model,
        camera=world.camera,
        telemetry=world.telemetry,
        tracing=world.tracing,
    )
    cache = PageCache(
        ledger=ledger,
        options=options,
        gate=gate,
        events=events,
        clean=fetched or cleaning.fetched,
        clock=clock,
        telemetry=world.telemetry,
    )
    leases = HeldLeases(ledger=ledger, frontier=frontier, nodes=nodes, options=options)
    exchange = Exchange(
        frontier=frontier,
        nodes=nodes,
        gate=gate,
        endings=endings,
        leases=leases,
        hops=Hops(frontier=frontier, nodes=nodes, gate=gate, leases=leases, clock=clock),
        settlement=settlement,
        attendance=attendance,
        balances=balances,
        reputations=reputations,
        fetched=fetched or cleaning.fetched,
        clock=clock,
        telemetry=world.telemetry,
        tracing=world.tracing,
    )
    return Core(
        world=world,
        rules=rules,
        nodes=nodes,
        events=events,
        options=options,
        gate=gate,
        endings=endings,
        scheduler=scheduler,
        reaper=reaper,
        attendance=attendance,
        cancellations=Cancellations(nodes=nodes, bus=bus),
        settlement=settlement,
        balances=balances,
        reputations=reputations,
        cleaning=cleaning,
        exchange=exchange,
        cache=cache,
        queue=JobQueue(frontier=frontier, bus=bus, cache=cache),
    )
