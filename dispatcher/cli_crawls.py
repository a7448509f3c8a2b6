"""Puts the parts together that crawl and map sites."""

from dataclasses import dataclass

from aiohttp import web

from dispatcher.adapters.crawl_api import CrawlApi
from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.map_api import MapApi
from dispatcher.adapters.re2_patterns import Re2Patterns
from dispatcher.core import Core
from dispatcher.crawl_engine import CrawlEngine
from dispatcher.crawl_scope import PathPatterns
from dispatcher.crawl_service import CrawlService
from dispatcher.intake import Intake
from dispatcher.job_recall import JobRecall
from dispatcher.map_service import MapService
from dispatcher.page_finds import PageFinds, PageReader
from dispatcher.submissions import Submissions


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawls:
    """What is to be run, and what serves labs."""

    engine: CrawlEngine
    service: CrawlService
    patterns: PathPatterns
    routes: list[web.RouteDef]


def assemble_crawls(
    core: Core, reader: PageReader, *, intake: Intake, pages: LabApi, sockets: JobSockets | None = None
) -> Crawls:
    """Put the parts that crawl on a core."""
    world, rules = core.world, core.rules
    patterns = Re2Patterns()
    recall = JobRecall(frontier=world.frontier, cancellations=core.cancellations)
    engine = CrawlEngine(
        ledger=world.ledger,
        finds=PageFinds(objects=world.objects, reader=reader, patterns=patterns, test_sites=rules.test_sites),
        gate=core.gate,
        queue=core.queue,
        recall=recall,
        options=core.options,
        events=core.events,
        clock=world.clock,
        new_id=world.new_id,
        fraction=world.randomness.fraction,
        job_deadline_ms=rules.job_deadline_ms,
        test_sites=rules.test_sites,
    )
    service = CrawlService(
        ledger=world.ledger,
        engine=engine,
        submissions=Submissions(ledger=world.ledger, clock=world.clock, new_id=world.new_id),
        queue=core.queue,
        recall=recall,
        options=core.options,
        events=core.events,
        tracing=world.tracing,
    )
    api = CrawlApi(
        intake,
        service,
        pages,
        patterns=patterns,
        test_sites=rules.test_sites,
        sockets=sockets,
        has_model=world.model is not None,
        has_browser=world.camera is not None,
    )
    maps = MapService(
        ledger=world.ledger,
        objects=world.objects,
        reader=reader,
        engine=engine,
        queue=core.queue,
        recall=recall,
        options=core.options,
        events=core.events,
        clock=world.clock,
        test_sites=rules.test_sites,
    )
    map_api = MapApi(intake, maps, test_sites=rules.test_sites)
    return Crawls(engine=engine, service=service, patterns=patterns, routes=[*api.routes(), *map_api.routes()])
