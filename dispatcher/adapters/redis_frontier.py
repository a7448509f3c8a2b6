"""The frontier on a Redis-protocol server (Redis 6.2 or later, Valkey): atomic steps in Lua, one shard a script.

Hosts are spread over shards by a stable hash; a host, its jobs and its leases live in one shard, whose keys share one
hash tag. `lua/host_index.lua` lists every key and the invariants.

Clocks. The server's clock is never used: each call carries the caller's time. Delays hold exactly between callers whose
clocks agree; a dispatcher that is ahead of another by s ms can visit a host s ms too early and expire leases s ms too
early, so dispatchers keep their clocks within a fraction of the shortest delay (NTP). A clock that goes back delays,
and never hurries, a visit.

Loss. What the server lost is the ledger's to restore: a flush, another server, or a restart (an append-only file
synced every second may have lost its last second) makes `is_intact` false until the caller has added every open job
again. Moments of past visits are lost with the rest. A job the server forgot to forget can be leased once more; the
ledger tells that it has ended, and `finish` removes it.

Order. Jobs of a host go by priority, then by the order in which they were added. Of delayed jobs that became due
together, 128 are looked at a visit.
"""

import secrets
import zlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from dispatcher.adapters.redis_checks import check_server, layout_of
from dispatcher.adapters.redis_scripts import RedisScripts, ScriptQueue, redacted, translated
from dispatcher.errors import SetupError
from dispatcher.frontier import FrontierJob, HostPace, Lease, LeaseHolder

_ADD_CHUNK = 500
_REMEMBERED_JOBS = 200_000
_CONNECTIONS = 16
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 10.0


async def open_redis_frontier(
    url: str, *, default_pace: HostPace, shards: int = 1, namespace: str = "m"
) -> "RedisFrontier":
    """Connect to the server at `url` (`redis://`, `rediss://`, `unix://`) and make sure it can hold the frontier.

    `default_pace` holds for every host without a pace of its own. `shards` must be the same for every dispatcher of the
    network. Networks that share a server have different `namespace`s.

    Raises:
        SetupError: the URL is not one, or the server is not reachable, refuses the user, is too old, read-only, evicts
            keys or is out of memory: the message names which and says what to do.
    """
    where = f"the Redis server at {redacted(url)}"
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_ANSWER_TIMEOUT_S,
            decode_responses=True,
            protocol=2,  # a server too old for RESP3 must still be able to say its version
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_ANSWER_TIMEOUT_S,
            retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), 2),
        )
    except ValueError as error:
        raise SetupError(
            "the Redis URL is not one: expected redis://[user:password@]host:port/0, rediss://... or unix:///path"
        ) from error
    client = Redis.from_pool(pool)
    try:
        await check_server(client, where, namespace=namespace, shards=shards)
    except SetupError:
        await client.aclose()
        raise
    return RedisFrontier(client, where, default_pace=default_pace, shards=shards, namespace=namespace)


class _Shard:
    """One shard: its hash tag, and the calls that travel together."""

    def __init__(self, scripts: RedisScripts, tag: str, pace: HostPace) -> None:
        self.tag = tag
        head = (pace.delay_ms, pace.max_concurrent)
        self.assign = ScriptQueue(scripts, "assign", tag)
        self.holder = ScriptQueue(scripts, "holder", tag)
        self.release = ScriptQueue(scripts, "release", tag, *head)
        self.finish = ScriptQueue(scripts, "finish", tag, *head)
        self.set_pace = ScriptQueue(scripts, "set_pace", tag)
        self.postpone_host = ScriptQueue(scripts, "postpone_host", tag, *head)
        self.reserve_visit = ScriptQueue(scripts, "reserve_visit", tag, *head)

    async def drain(self) -> None:
        for queue in vars(self).values():
            if isinstance(queue, ScriptQueue):
                await queue.drain()


class RedisFrontier:
    """A `Frontier` whose state lies on a Redis-protocol server. Made by `open_redis_frontier`; owns its connections.

    Every method raises `FrontierError` where the server is not reachable or refuses; the message says what to do.
    """

    def __init__(self, client: Redis, where: str, *, default_pace: HostPace, shards: int, namespace: str) -> None:
        self._client = client
        self._where = where
        self._pace = default_pace
        self._scripts = RedisScripts(client, where)
        self._layout = layout_of(namespace, shards)
        self._shards = [_Shard(self._scripts, f"{{{namespace}:{k}}}", default_pace) for k in range(shards)]
        self._turn = 0
        self._last_token = 0
        self._rebuild_mark: str | None = None
        # The shard of jobs leased here, newest last: saves asking every shard. A job never changes its shard.
        self._shard_of_job: OrderedDict[str, _Shard] = OrderedDict()

    async def close(self) -> None:
        """Send what is under way and close the connections. The jobs stay on the server."""
        for shard in self._shards:
            await shard.drain()
        await self._client.aclose()

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """Add jobs, 500 in a step; steps done before an error stay. See the port."""
        by_shard: dict[str, list[tuple[str, str, str, int, int]]] = {}
        for job in jobs:
            row = (job.job_id, job.host, job.pool, job.priority, job.not_before_ms)
            by_shard.setdefault(self._shard(job.host).tag, []).append(row)
        added = 0
        for tag, rows in by_shard.items():
            for start in range(0, len(rows), _ADD_CHUNK):
                packed = msgspec.msgpack.encode(rows[start : start + _ADD_CHUNK])
                added += int(
                    await self._scripts.call("add", tag, self._pace.delay_ms, self._pace.max_concurrent, packed)
                )
        return added

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Lease jobs; atomic in each shard, and shards take turns at being first. See the port."""
        leases: list[Lease] = []
        expires_ms = now_ms + lease_ms
        self._turn += 1
        for k in range(len(self._shards)):
            if len(leases) >= limit:
                break
            shard = self._shards[(self._turn + k) % len(self._shards)]
            flat: list[str | int] = await self._scripts.call(
                "lease",
                shard.tag,
                self._pace.delay_ms,
                self._pace.max_concurrent,
                pool,
                limit - len(leases),
                now_ms,
                expires_ms,
                self._last_token,
            )
            for job_id, host, token in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                lease = Lease(job_id=str(job_id), host=str(host), pool=pool, token=int(token), expires_ms=expires_ms)
                self._last_token = max(self._last_token, lease.token)
                self._remember(lease.job_id, shard)
                leases.append(lease)
        return leases

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited. See the port."""
        moments: list[int] = []
        for shard in self._shards:
            moment = await self._scripts.call("next_due", shard.tag, pool)
            if moment is not None:
                moments.append(int(moment))
        return min(moments, default=None)

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease. See the port."""
        item = (job_id, token, node_key, job_hash, expires_ms)
        for shard in self._shards_of(job_id):
            if await shard.assign.call(item):
                return True
        return False

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now. See the port."""
        for shard in self._shards_of(job_id):
            match await shard.holder.call(job_id):
                case [token, node_key, job_hash]:
                    return LeaseHolder(token=int(token), node_key=node_key, job_hash=job_hash)
                case _:
                    continue
        return None

    async def release(self, job_id: str, token: int, *, not_before_ms: int) -> bool:
        """Put a leased job back. See the port."""
        for shard in self._shards_of(job_id):
            if await shard.release.call((job_id, token, not_before_ms)):
                return True
        return False

    async def finish(self, job_id: str) -> bool:
        """Forget a job for good. See the port."""
        for shard in self._shards_of(job_id):
            if await shard.finish.call(job_id):
                self._shard_of_job.pop(job_id, None)
                return True
        return False

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Put jobs with expired leases back; also forgets up to `limit` idle hosts of each shard. See the port."""
        expired: list[str] = []
        for shard in self._shards:
            ids = await self._scripts.call(
                "expire", shard.tag, self._pace.delay_ms, self._pace.max_concurrent, now_ms, limit - len(expired)
            )
            expired.extend(str(job_id) for job_id in ids)
        return expired

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """Set how a host may be visited. See the port."""
        await self._shard(host).set_pace.call((host, pace.delay_ms, pace.max_concurrent))

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """No visit to a host before `until_ms`. See the port."""
        await self._shard(host).postpone_host.call((host, until_ms))

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host. See the port."""
        moment = await self._shard(host).reserve_visit.call((host, now_ms))
        assert isinstance(moment, int)
        return moment

    async def size(self) -> int:
        """How many jobs are known. See the port."""
        known = 0
        with translated(self._where):
            for shard in self._shards:
                known += int(await self._client.hget(f"{shard.tag}:meta", "s") or 0)
        return known

    async def is_intact(self) -> bool:
        """False after a flush, a restart of the server or a move to another one, until `mark_rebuilt`. See the port.

        False also says that a rebuild begins: data lost again before `mark_rebuilt` is noticed.
        """
        with translated(self._where):
            run = await self._run_id()
            intact = True
            for shard in self._shards:
                intact = intact and await self._client.get(f"{shard.tag}:intact") == run
            if not intact and self._rebuild_mark is None:
                self._rebuild_mark = f"{run}/{secrets.token_hex(8)}"
                for shard in self._shards:
                    await self._client.hset(f"{shard.tag}:rebuilding", self._rebuild_mark, "1")
        return intact

    async def mark_rebuilt(self) -> None:
        """Say that the rebuild is complete. Where data was lost during it, `is_intact` stays false. See the port."""
        mark, self._rebuild_mark = self._rebuild_mark, None
        with translated(self._where):
            run = await self._run_id()
            if mark is not None and not mark.startswith(f"{run}/"):
                return
            for shard in self._shards:
                await self._scripts.call("mark_rebuilt", shard.tag, run, mark or "")
            key, layout = self._layout
            await self._client.set(key, layout, nx=True)

    async def _run_id(self) -> str:
        return str((await self._client.info("server"))["run_id"])

    def _shard(self, host: str) -> _Shard:
        return self._shards[zlib.crc32(host.encode()) % len(self._shards)]

    def _shards_of(self, job_id: str) -> Sequence[_Shard]:
        known = self._shard_of_job.get(job_id)
        return self._shards if known is None else (known,)

    def _remember(self, job_id: str, shard: _Shard) -> None:
        if len(self._shards) == 1:
            return
        self._shard_of_job[job_id] = shard
        if len(self._shard_of_job) > _REMEMBERED_JOBS:
            self._shard_of_job.popitem(last=False)
