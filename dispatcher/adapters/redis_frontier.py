"""The frontier on Redis-protocol servers (Redis 6.2 or later, Valkey, either as a cluster): atomic steps in Lua.

A shard holds whole registered domains with their hosts and jobs, in eleven keys with one hash tag; `lua/shard.lua` and
the preludes after it list keys, records and invariants. Shards may lie on one server or on the nodes of a cluster.

Clocks. The server's clock is never used: each call carries the caller's time. Delays hold exactly between callers whose
clocks agree; a dispatcher that is ahead of another by s ms can visit a host s ms too early and expire leases s ms too
early, so dispatchers keep their clocks within a fraction of the shortest delay (NTP). A clock that goes back delays,
and never hurries, a visit.

Loss. What a server lost is the ledger's to restore: a flush, another server, or a restart (an append-only file
synced every second may have lost its last second) makes `is_intact` false until the caller has added every open job
again. Moments of past visits are lost with the rest. A job the server forgot to forget can be leased once more; the
ledger tells that it has ended, and `finish` removes it.

Fairness. Teams take turns in each shard. A lease asks all shards at once for equal parts and then fills up, so that a
team's only job waits for no more than a lease of each other team in its shard.
"""

import asyncio
import secrets
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from dispatcher.adapters.redis_checks import check_servers, layout_of
from dispatcher.adapters.redis_nodes import RedisNodes
from dispatcher.adapters.redis_scripts import FrontierShard
from dispatcher.errors import FrontierError, SetupError
from dispatcher.frontier import MAX_EXCLUDED, PRIORITIES, FrontierJob, HostPace, Lease, LeaseHolder
from dispatcher.registered_domain import is_address, registered_domain

DOMAIN_PACE = HostPace(delay_ms=200, max_concurrent=8)
_ADD_CHUNK = 500
_FORGET_CHUNK = 500
_REMEMBERED_JOBS = 200_000
_NO_DEADLINE = 10**13 - 1
_pack = msgspec.msgpack.Encoder().encode


async def open_redis_frontier(
    url: str,
    *,
    default_pace: HostPace,
    domain_pace: HostPace | None = DOMAIN_PACE,
    shards: int = 1,
    namespace: str = "m",
) -> "RedisFrontier":
    """Connect to the server or cluster at `url` (`redis://`, `rediss://`, `unix://`), which must be fit for it.

    `default_pace` holds for every host without a pace of its own, `domain_pace` for the hosts of a registered domain
    together (None: no such limit; IP addresses have none). `shards` must be the same for every dispatcher of the
    network. Networks that share a server have different `namespace`s.

    Raises:
        SetupError: the URL is not one, or a server is not reachable, refuses the user, is too old, read-only, evicts
            keys, is out of memory or holds another layout: the message names which and says what to do.
    """
    nodes = RedisNodes.at(url)
    try:
        await check_servers(nodes, namespace=namespace, shards=shards)
    except SetupError:
        await nodes.close()
        raise
    return RedisFrontier(nodes, default_pace=default_pace, domain_pace=domain_pace, shards=shards, namespace=namespace)


class RedisFrontier:
    """A `Frontier` whose state lies on Redis-protocol servers. Made by `open_redis_frontier`; owns its connections.

    Every method raises `FrontierError` where a server is not reachable or refuses; the message says what to do.
    """

    def __init__(
        self, nodes: RedisNodes, *, default_pace: HostPace, domain_pace: HostPace | None, shards: int, namespace: str
    ) -> None:
        self._nodes = nodes
        self._layout = layout_of(namespace, shards)
        self._has_domains = domain_pace is not None
        domain = domain_pace or HostPace(delay_ms=0, max_concurrent=0)
        pace = (default_pace.delay_ms, default_pace.max_concurrent, domain.delay_ms, domain.max_concurrent)
        self._shards = [FrontierShard(nodes, f"{{{namespace}:{k}}}", pace) for k in range(shards)]
        self._turn = 0
        self._last_token = 0
        self._rebuild_mark: str | None = None
        # The shard of jobs leased here, newest last: saves asking every shard. A job never changes its shard.
        self._shard_of_job: OrderedDict[str, FrontierShard] = OrderedDict()

    async def close(self) -> None:
        """Send what is under way and close the connections. The jobs stay on the servers."""
        for shard in self._shards:
            await shard.drain()
        await self._nodes.close()

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """Add jobs, 500 in a step; steps done before an error stay. See the port."""
        if len(self._shards) == 1:
            return await self._add_to(self._shards[0], jobs)
        by_shard: dict[int, list[FrontierJob]] = {}
        for job in jobs:
            by_shard.setdefault(self._shard_number(job.host), []).append(job)
        return sum(await asyncio.gather(*(self._add_to(self._shards[k], some) for k, some in by_shard.items())))

    async def pools(self) -> list[str]:
        """The pools in which any job waits. See the port."""
        found = await asyncio.gather(*(shard.run("pools") for shard in self._shards))
        return sorted({name for names in found for name in names})

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Lease jobs; atomic in each shard. What was leased counts, also where another shard failed. See the port."""
        self._turn += 1
        count = len(self._shards)
        asked = [(self._turn + k) % count for k in range(count)]
        leases: list[Lease] = []
        failure: FrontierError | None = None
        while asked and len(leases) < limit:
            left = limit - len(leases)
            shares = [left // len(asked) + (k < left % len(asked)) for k in range(len(asked))]
            parts = [(number, share) for number, share in zip(asked, shares, strict=True) if share]
            found = await asyncio.gather(
                *(self._lease_from(number, pool, share, now_ms, lease_ms) for number, share in parts),
                return_exceptions=True,
            )
            # Those that gave all they were asked for may have more; those that were not asked come after them.
            asked = asked[len(parts) :]
            for (number, share), part in zip(parts, found, strict=True):
                if isinstance(part, FrontierError):
                    failure = part
                elif isinstance(part, BaseException):
                    raise part
                else:
                    leases += part
                    if len(part) == share:
                        asked.append(number)
        if failure is not None and not leases:
            raise failure
        return leases

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited. See the port."""
        moments = await asyncio.gather(*(shard.run("next_due", pool) for shard in self._shards))
        return min((int(moment) for moment in moments if moment is not None), default=None)

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease. See the port."""
        item = (job_id, f"{token:016d}", expires_ms, node_key, job_hash)
        return await self._any(job_id, [shard.assign.call(item) for shard in self._shards_of(job_id)])

    async def extend(self, job_id: str, token: int, *, expires_ms: int) -> bool:
        """Move the end of a lease. See the port."""
        item = (job_id, f"{token:016d}", expires_ms)
        return await self._any(job_id, [shard.assign.call(item) for shard in self._shards_of(job_id)])

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now. See the port."""
        replies = await asyncio.gather(*(shard.holder.call(job_id) for shard in self._shards_of(job_id)))
        return next((_holder(reply) for reply in replies if reply), None)

    async def release(self, job_id: str, token: int, *, not_before_ms: int, exclude: Sequence[str] = ()) -> bool:
        """Put a leased job back. See the port."""
        item = (job_id, f"{token:016d}", not_before_ms, _tags(exclude))
        return await self._any(job_id, [shard.release.call(item) for shard in self._shards_of(job_id)])

    async def finish(self, job_id: str) -> bool:
        """Forget a job for good. See the port."""
        if len(self._shards) == 1:
            return bool(await self._shards[0].finish.call(job_id))
        known = await self._any(job_id, [shard.finish.call(job_id) for shard in self._shards_of(job_id)])
        self._shard_of_job.pop(job_id, None)
        return known

    async def cancel(self, job_ids: Sequence[str]) -> dict[str, LeaseHolder]:
        """Forget jobs for good and say who worked on them; 500 in a step. See the port."""
        holders: dict[str, LeaseHolder] = {}
        for start in range(0, len(job_ids), _FORGET_CHUNK):
            chosen = list(job_ids[start : start + _FORGET_CHUNK])
            for replies in await asyncio.gather(*(shard.run("cancel", _pack(chosen)) for shard in self._shards)):
                holders.update({job_id: _holder(reply) for job_id, reply in zip(chosen, replies, strict=True) if reply})
        for job_id in job_ids:
            self._shard_of_job.pop(job_id, None)
        return holders

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Put jobs with expired leases back; also forgets up to `limit` idle records of each shard. See the port."""
        expired: list[str] = []
        for shard in self._shards:
            ids = await shard.run("expire", now_ms, limit - len(expired), limit)
            expired.extend(str(job_id) for job_id in ids)
        return expired

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """Set how a host may be visited. See the port."""
        item = (host, self._domain(host), pace.delay_ms, pace.max_concurrent)
        await self._shards[self._shard_number(host)].set_pace.call(item)

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """No visit to a host before `until_ms`. See the port."""
        await self._shards[self._shard_number(host)].postpone_host.call((host, self._domain(host), until_ms))

    async def back_off(self, host: str, *, now_ms: int, at_least_ms: int, visited_ms: int | None = None) -> int:
        """No visit to a host that is too busy, for a while. See the port."""
        item = (host, self._domain(host), now_ms, at_least_ms, now_ms if visited_ms is None else visited_ms)
        return int(await self._shards[self._shard_number(host)].back_off.call(item))

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host. See the port."""
        item = (host, self._domain(host), now_ms)
        return int(await self._shards[self._shard_number(host)].reserve_visit.call(item))

    async def lease_now(self, job: FrontierJob, *, now_ms: int, lease_ms: int) -> int:
        """Lease a new job if its host may be visited now. See the port."""
        number = self._shard_number(job.host)
        item = (job.job_id, job.pool, job.host, self._domain(job.host), now_ms, now_ms + lease_ms)
        moment = int(await self._shards[number].lease_now.call((*item, len(self._shards), number)))
        if moment == 0:
            self._remember(job.job_id, self._shards[number])
        return moment

    async def size(self) -> int:
        """How many jobs are known. See the port."""
        return sum(await asyncio.gather(*(shard.call("HLEN", "jobs") for shard in self._shards)))

    async def is_intact(self) -> bool:
        """False after a flush, a restart of a server or a move to another one, until `mark_rebuilt`. See the port.

        False also says that a rebuild begins: data lost again before `mark_rebuilt` is noticed.
        """
        runs = await self._run_ids()
        kept = await asyncio.gather(*(shard.call("GET", "intact") for shard in self._shards))
        intact = list(kept) == runs
        if not intact and self._rebuild_mark is None:
            self._rebuild_mark = f"{'+'.join(runs)}/{secrets.token_hex(8)}"
            for shard in self._shards:
                await shard.call("HSET", "rebuilding", self._rebuild_mark, "1")
        return intact

    async def mark_rebuilt(self) -> None:
        """Say that the rebuild is complete. Where data was lost during it, `is_intact` stays false. See the port."""
        mark, self._rebuild_mark = self._rebuild_mark, None
        runs = await self._run_ids()
        if mark is not None and not mark.startswith(f"{'+'.join(runs)}/"):
            return
        for shard, run in zip(self._shards, runs, strict=True):
            await shard.mark_rebuilt(run, mark or "")
        key, layout = self._layout
        await self._nodes.call(key, "SET", key, layout, "NX")

    async def _run_ids(self) -> list[str]:
        return list(await asyncio.gather(*(shard.run_id() for shard in self._shards)))

    async def _lease_from(self, number: int, pool: str, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        shard, expires_ms = self._shards[number], now_ms + lease_ms
        flat: list[Any] = await shard.run(
            "lease", pool, limit, now_ms, expires_ms, self._last_token, len(self._shards), number
        )
        leases = []
        for job_id, host, token, tags in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True):
            excluded = tuple(tags.split("\t")) if tags else ()
            leases.append(
                Lease(job_id=job_id, host=host, pool=pool, token=token, expires_ms=expires_ms, excluded=excluded)
            )
            self._remember(job_id, shard)
        if leases:
            self._last_token = max(self._last_token, leases[-1].token)
        return leases

    async def _add_to(self, shard: FrontierShard, jobs: Sequence[FrontierJob]) -> int:
        added = 0
        for start in range(0, len(jobs), _ADD_CHUNK):
            added += int(await shard.run("add", *self._packed(jobs[start : start + _ADD_CHUNK])))
        return added

    def _packed(self, jobs: Sequence[FrontierJob]) -> tuple[bytes, bytes, bytes]:
        """Flows, hosts and jobs as add.lua takes them."""
        flows: dict[tuple[str, str], int] = {}
        hosts: dict[str, int] = {}
        rows = []
        orders: dict[tuple[int, int], str] = {}
        for job in jobs:
            standing = (job.priority, job.deadline_ms)
            order = orders.get(standing)
            if order is None:
                order = orders[standing] = _order(*standing)
            flow = flows.setdefault((job.pool, job.team), len(flows) + 1)
            host = hosts.setdefault(job.host, len(hosts) + 1)
            tags = "\t".join(_tags(job.excluded)) if job.excluded else ""
            rows.append((job.job_id, flow, host, order, job.not_before_ms, tags))
        for name in (*hosts, *(pool for pool, _ in flows)):
            _refuse(name, "|")
        return _pack(list(flows)), _pack([(host, self._domain(host)) for host in hosts]), _pack(rows)

    def _domain(self, host: str) -> str:
        """The place of a host's domain; empty where only the host's own pace counts."""
        return f".{registered_domain(host)}" if self._has_domains and not is_address(host) else ""

    def _shard_number(self, host: str) -> int:
        if len(self._shards) == 1:
            return 0
        return zlib.crc32(registered_domain(host).encode()) % len(self._shards)

    def _shards_of(self, job_id: str) -> Sequence[FrontierShard]:
        known = self._shard_of_job.get(job_id)
        return self._shards if known is None else (known,)

    async def _any(self, job_id: str, calls: list[Any]) -> bool:
        if len(calls) == 1:
            return bool(await calls[0])
        return any(await asyncio.gather(*calls))

    def _remember(self, job_id: str, shard: FrontierShard) -> None:
        if len(self._shards) == 1:
            return
        self._shard_of_job[job_id] = shard
        if len(self._shard_of_job) > _REMEMBERED_JOBS:
            self._shard_of_job.popitem(last=False)


def _order(priority: int, deadline_ms: int) -> str:
    """Where a job stands among those of its team, as lua/shard.lua says: rank and deadline."""
    rank = PRIORITIES - 1 - min(max(priority, 0), PRIORITIES - 1)
    return f"{rank}{min(deadline_ms, _NO_DEADLINE) if deadline_ms > 0 else _NO_DEADLINE:013d}"


def _holder(reply: list[str]) -> LeaseHolder:
    token, node_key, job_hash = reply
    return LeaseHolder(token=int(token), node_key=node_key, job_hash=job_hash)


def _tags(given: Sequence[str]) -> list[str]:
    tags = list(dict.fromkeys(tag for tag in given if tag))[-MAX_EXCLUDED:]
    for tag in tags:
        _refuse(tag, "\t")
    return tags


def _refuse(text: str, mark: str) -> None:
    if mark in text:
        raise ValueError(f"{text!r} holds {mark!r}, which parts the fields of a record")
