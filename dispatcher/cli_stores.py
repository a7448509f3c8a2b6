"""Opens the stores a dispatcher stands on, each by its address in the settings."""

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from dispatcher.adapters.folder_datasets import FolderDatasets
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.obstore_datasets import ObstoreDatasets
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.adapters.obstore_tiles import ObstoreTiles
from dispatcher.adapters.postgres_search import PostgresSearch
from dispatcher.adapters.redis_bus import open_redis_bus
from dispatcher.adapters.redis_clock import RedisClock
from dispatcher.adapters.redis_daily_key import RedisDailyKey
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.adapters.redis_presence import open_redis_presence
from dispatcher.adapters.redis_rates import open_redis_rates
from dispatcher.adapters.sql_ledger import sqlite_path
from dispatcher.adapters.sqlite_search import FILE_NAME, SqliteSearch
from dispatcher.adapters.store_check import check_store
from dispatcher.adapters.system_clock import clock, now_ms
from dispatcher.bus import Bus
from dispatcher.dataset_store import DatasetStore
from dispatcher.errors import SetupError
from dispatcher.frontier import Frontier, HostPace
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.presence import Presence
from dispatcher.rate_limits import LenientRates, Rates
from dispatcher.search_index import SearchIndex
from dispatcher.settings import DispatcherSettings
from dispatcher.store_location import StoreLocation, parse_location
from provenance.adapters.local_tiles import LocalTiles
from provenance.log_writer import TileStore


@dataclass(frozen=True, slots=True)
class Stores:
    """What dispatchers of a network share. `place` says where the objects are, as all of them would say it."""

    ledger: Ledger
    frontier: Frontier
    presence: Presence
    subnet_key: RedisDailyKey
    clock: RedisClock
    bus: Bus
    rates: Rates
    objects: ObjectStore
    tiles: TileStore
    datasets: DatasetStore
    search: SearchIndex
    place: str


async def open_stores(stack: AsyncExitStack, settings: DispatcherSettings, ledger: Ledger, *, work_dir: Path) -> Stores:
    """Open what `settings` names beside the ledger; all addresses are set. `work_dir` is for files of this dispatcher
    alone.

    SetupError names the setting at fault.
    """
    assert settings.database_url and settings.redis_url and settings.store_url
    location = _location(settings.store_url)
    # An unknown host gets one visit at a time until its robots.txt is read and its pace set.
    pace = HostPace(delay_ms=settings.host_delay_ms, max_concurrent=1)
    try:
        frontier = await open_redis_frontier(settings.redis_url, default_pace=pace, shards=settings.frontier_shards)
        stack.push_async_callback(frontier.close)
        presence = await open_redis_presence(settings.redis_url)
        stack.push_async_callback(presence.close)
        subnet_key = RedisDailyKey(settings.redis_url, clock=now_ms)
        stack.push_async_callback(subnet_key.close)
        await subnet_key.fetch()
        network_clock = RedisClock(settings.redis_url, clock)
        stack.push_async_callback(network_clock.close)
        await network_clock.ask()
        bus = await open_redis_bus(settings.redis_url)
        stack.push_async_callback(bus.close)
        rates = await open_redis_rates(settings.redis_url)
        stack.push_async_callback(rates.close)
    except SetupError as error:
        raise SetupError(f"MEADOW_REDIS_URL: {error}") from error
    await check_store(location)
    objects, tiles, datasets = _open_objects(stack, location, work_dir)
    return Stores(
        ledger=ledger,
        frontier=frontier,
        presence=presence,
        subnet_key=subnet_key,
        clock=network_clock,
        bus=bus,
        rates=LenientRates(rates),
        objects=objects,
        tiles=tiles,
        datasets=datasets,
        search=_open_search(stack, settings.database_url),
        place=_shared_place(location, settings.database_url),
    )


def _location(url: str) -> StoreLocation:
    try:
        return parse_location(url, os.environ)
    except SetupError as error:
        raise SetupError(f"MEADOW_STORE_URL: {error}") from error


def _open_objects(
    stack: AsyncExitStack, location: StoreLocation, work_dir: Path
) -> tuple[ObjectStore, TileStore, DatasetStore]:
    objects: LocalObjects | ObstoreObjects
    tiles: LocalTiles | ObstoreTiles
    if location.scheme == "file":
        objects, tiles = LocalObjects(location.folder / "objects"), LocalTiles(location.folder / "log")
        datasets: DatasetStore = FolderDatasets(location.folder / "datasets")
    else:
        objects, tiles = ObstoreObjects(location), ObstoreTiles(location)
        datasets = ObstoreDatasets(location, work_dir / "datasets")
    stack.push_async_callback(objects.close)
    return objects, tiles, datasets


def _open_search(stack: AsyncExitStack, database_url: str) -> SearchIndex:
    if (path := sqlite_path(database_url)) is not None:
        return SqliteSearch(path.with_name(FILE_NAME))
    index = PostgresSearch(database_url)
    stack.push_async_callback(index.close)
    return index


def _shared_place(location: StoreLocation, database_url: str) -> str:
    """Say where the objects are. A folder beside the ledger's file stays the same place when both are moved."""
    path = sqlite_path(database_url)
    if location.scheme == "file" and path is not None and path.resolve().parent == location.folder.resolve():
        return "beside the ledger"
    return f"{location} at {location.endpoint}" if location.endpoint else str(location)
