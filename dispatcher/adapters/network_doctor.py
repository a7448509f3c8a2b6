"""Runs every check of `meadow doctor` that the settings call for. A check that cannot be made is itself a finding."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from dispatcher.adapters.network_keys import operator_wallet, public_facts
from dispatcher.adapters.probe_browser import probe_browser
from dispatcher.adapters.probe_gateway import probe_port, probe_public_host
from dispatcher.adapters.probe_ledger import LedgerProbe, probe_postgres, probe_sqlite
from dispatcher.adapters.probe_machine import probe_keys, probe_machine
from dispatcher.adapters.probe_objects import probe_objects
from dispatcher.adapters.probe_redis import probe_redis
from dispatcher.adapters.probe_solana import probe_solana
from dispatcher.doctor import Check, judge_error, judge_invariants, ok, warn
from dispatcher.errors import DispatcherError, LedgerError, SetupError
from dispatcher.objects import ObjectStore
from dispatcher.settings import DispatcherSettings

INVARIANTS_S = 20.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is looked at. `open_objects` opens the object store, `store_folder` is its folder where
    it is one; `sqlite_path` is None where the ledger is elsewhere;
    `broken_invariants` audits the ledger, None where that is not to be done."""

    data_dir: Path
    settings: DispatcherSettings
    port: int
    sqlite_path: Path | None
    keys_dir: Path
    store_shown: str
    store_folder: Path | None
    open_objects: Callable[[], ObjectStore]
    broken_invariants: Callable[[], Awaitable[list[str]]] | None
    clock: Callable[[], int]


async def examine(around: Surroundings) -> AsyncIterator[Check]:
    """Yield the checks, the nearest first. Raises nothing of what it finds."""
    settings = around.settings
    for check in probe_machine(
        around.data_dir, max_nodes=settings.max_nodes, embedded_queue=settings.redis_url is None
    ):
        yield check
    for check in probe_keys(around.keys_dir):
        yield check
    facts: dict[str, str] = {}
    try:
        facts = public_facts(around.keys_dir, settings.solana_keypair)
    except SetupError as error:
        yield judge_error("keys", error)
    ledger = await _ledger(around, facts)
    for check in ledger.checks:
        yield check
    if ledger.usable and around.broken_invariants is not None:
        yield await _invariants(around.broken_invariants)
    if settings.redis_url is not None:
        for check in await probe_redis(settings.redis_url):
            yield check
    yield await _objects(around)
    async for check in _chain(around):
        yield check
    if settings.screenshot_browser is not None:
        yield await probe_browser(settings.screenshot_browser, sandbox=settings.screenshot_sandbox)
    yield await probe_port(settings.host, around.port)
    for name in sorted(settings.served_hosts):
        yield await probe_public_host(name, secure=settings.tls_in_front)


async def _ledger(around: Surroundings, facts: dict[str, str]) -> LedgerProbe:
    url, now_ms = around.settings.database_url, around.clock()
    if around.sqlite_path is not None:
        return await probe_sqlite(around.sqlite_path, facts=facts, now_ms=now_ms)
    return await probe_postgres(str(url), facts=facts, now_ms=now_ms)


async def _invariants(audit: Callable[[], Awaitable[list[str]]]) -> Check:
    try:
        return judge_invariants(await asyncio.wait_for(audit(), INVARIANTS_S))
    except LedgerError as error:
        return judge_error("ledger-invariants", error)
    except TimeoutError:
        says = f"the ledger is too large to be checked within {INVARIANTS_S:.0f} s"
        return warn("ledger-invariants", says, "check a restored backup instead: meadow restore does")


async def _objects(around: Surroundings) -> Check:
    if around.store_folder is not None and not await asyncio.to_thread(around.store_folder.exists):
        return ok("object-store", f"{around.store_folder} does not exist yet; the first start makes it")
    async with AsyncExitStack() as stack:
        try:
            store = around.open_objects()
            stack.push_async_callback(store.close)
            return await probe_objects(store, around.store_shown)
        except DispatcherError as error:
            return judge_error("object-store", error)


async def _chain(around: Surroundings) -> AsyncIterator[Check]:
    settings = around.settings
    if settings.solana_url is None:
        yield ok("solana", "MEADOW_SOLANA_URL is not set: `meadow up` runs a simulator, whose tokens have no value")
        return
    try:
        wallet = operator_wallet(around.keys_dir, settings.solana_keypair)
    except SetupError as error:
        yield judge_error("wallet", error)
        return
    for check in await probe_solana(settings.solana_url, wallet=wallet, mint=settings.token_mint):
        yield check
