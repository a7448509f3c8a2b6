"""Several real nodes in one process, each with a folder, a key and a session of its own.

    python -m tests.faults.many_nodes NODES FOLDER DISPATCHER_URL HOST:PORT...

Ends in order when its standard input does.
"""

import asyncio
import functools
import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

from node_agent.adapters import key_file, system_clock
from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.asyncio_node import AsyncioNode, NodeIdentity
from node_agent.adapters.flock_folder import open_folder
from node_agent.adapters.psutil_networks import MachineNetworks
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.adapters.sqlite_rules import SqliteRules
from node_agent.dispatcher_url import parse_dispatcher_url
from protocol import base58
from protocol.urls import TestSites

_AT_ONCE = 16


async def _open(stack: AsyncExitStack, folder: Path, dispatcher: str, sites: Sequence[str]) -> AsyncioNode:
    open_folder(folder)
    rules, journal = SqliteRules(folder), SqliteJournal(folder)
    stack.enter_context(closing(rules))
    stack.enter_context(closing(journal))
    rules.set_limits(max_concurrent_jobs=_AT_ONCE)
    spool = SpoolFolder(folder)
    spool.open()
    key = key_file.load_or_create(folder, secrets.token_bytes(32))
    wallet = base58.encode(key.public_bytes)
    allowed, networks = TestSites.parse(sites), MachineNetworks()
    fetch = await stack.enter_async_context(AiohttpFetch(test_sites=allowed, own_networks=networks))

    def report(line: str) -> None:
        print(f"{folder.name}: {line}", file=sys.stderr, flush=True)

    jobs = AsyncioJobs(
        key=key,
        wallet=wallet,
        fetch=fetch,
        journal=journal,
        spool=spool,
        rules=rules.rules,
        moment=system_clock.moment,
        test_sites=allowed,
        report=report,
    )
    return AsyncioNode(
        dispatcher=parse_dispatcher_url(dispatcher),
        identity=NodeIdentity(key, wallet, None, tuple(sites)),
        jobs=jobs,
        rules=rules,
        now_ms=system_clock.now_ms,
        random=secrets.SystemRandom().random,
        report=report,
        seen_at=networks.seen_at,
    )


async def _run(count: int, folder: Path, dispatcher: str, sites: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        nodes = [await _open(stack, folder / f"node-{number}", dispatcher, sites) for number in range(count)]
        reading = loop.run_in_executor(None, functools.partial(sys.stdin.buffer.read))

        def stop(_: object) -> None:
            for node in nodes:
                node.request_stop()

        reading.add_done_callback(stop)
        await asyncio.gather(*(node.run() for node in nodes))


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
