"""Puts the parts together that labs' accounts are served by."""

import secrets
from functools import partial

from aiohttp import web

from dispatcher.adapters.audited_requests import note_changes
from dispatcher.adapters.changing_requests import for_changes
from dispatcher.adapters.estimate_api import EstimateApi
from dispatcher.adapters.idempotent_posts import repeat_answers
from dispatcher.adapters.lab_accounts_api import AccountsApi
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_keys_api import KeysApi
from dispatcher.adapters.re2_patterns import Re2Patterns
from dispatcher.audit import Auditor
from dispatcher.core import Core
from dispatcher.crawl_request import decode_crawl
from dispatcher.estimate import Decoder, EstimateKind
from dispatcher.key_service import KeyService
from dispatcher.lab_service import LabService
from dispatcher.scrape_request import decode_batch, decode_scrape


def serve_accounts(app: web.Application, core: Core, *, service: LabService, pages: LabApi, key_secret: bytes) -> None:
    """Add routes and middlewares to an application that has `json_errors`."""
    world, rules = core.world, core.rules
    keys = KeyService(
        ledger=world.ledger,
        key_secret=key_secret,
        clock=world.clock,
        new_id=world.new_id,
        randomness=secrets.token_bytes,
    )
    has_model, has_browser = world.model is not None, world.camera is not None
    decoders: dict[EstimateKind, Decoder] = {
        "scrape": partial(decode_scrape, test_sites=rules.test_sites, has_model=has_model, has_browser=has_browser),
        "batch_scrape": partial(
            decode_batch, test_sites=rules.test_sites, has_model=has_model, has_browser=has_browser
        ),
        "crawl": partial(
            decode_crawl,
            patterns=Re2Patterns(),
            test_sites=rules.test_sites,
            has_model=has_model,
            has_browser=has_browser,
        ),
    }
    app.add_routes(
        [
            *KeysApi(service, keys, clock=world.clock, base_url=pages.base_url).routes(),
            *AccountsApi(service, world.ledger, clock=world.clock, base_url=pages.base_url).routes(),
            *EstimateApi(service, world.ledger, decoders).routes(),
        ]
    )
    auditor = Auditor(ledger=world.ledger, clock=world.clock, new_id=world.new_id)
    app.middlewares.append(for_changes(repeat_answers(service, world.ledger, clock=world.clock), note_changes(auditor)))
