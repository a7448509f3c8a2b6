"""Jobs watched over a WebSocket, at the addresses where they are read: `GET /v2/batch/scrape/{id}` with `Upgrade`.

What is sent stands in `job_watch`. The key comes as Bearer, or as the subprotocol, which is then the answer's too: a
browser cannot send the header. Everything that is refused is refused before the upgrade, with the HTTP answer of the
address itself. Nothing is read from a client but its pongs.

Close codes: 1000 after the last frame; 1001 the dispatcher leaves; 1008 the key has ended; 1013 a store does not
answer. After the last three a client connects again, or reads the job's address. A client that does not read is cut
off.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from dispatcher.adapters.lab_auth import asks_for_websocket, bearer_of, caller_of, offered_protocol
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_following import EndedJobsLedger
from dispatcher.ending_tasks import end_tasks
from dispatcher.errors import RequestError, StoreError, TooManyRequests, Unauthorized
from dispatcher.event_documents import JobAddress, JobPages
from dispatcher.job_watch import JobWatch
from dispatcher.lab_service import LabService

TEAM_SOCKETS: Final = 50
"""How many sockets a team may have open at one dispatcher."""
SLOW_S: Final = 30.0
"""How long a frame waits for a client that does not read."""
PING_S: Final = 20.0
KEY_CHECK_S: Final = 60.0
_READ_BYTES = 4_096
_CLOSE_S = 5.0
_RETRY_AFTER_S = 10

_log = structlog.get_logger("job_sockets")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class JobSockets:
    """Owns the open sockets of this dispatcher."""

    def __init__(
        self,
        *,
        service: LabService,
        pages: JobPages,
        ledger: EndedJobsLedger,
        events: BatchEvents,
        log_origin: str,
        team_sockets: int = TEAM_SOCKETS,
        slow_s: float = SLOW_S,
        ping_s: float = PING_S,
        key_check_s: float = KEY_CHECK_S,
    ) -> None:
        self._service, self._pages, self._ledger, self._events = service, pages, ledger, events
        self._log_origin, self._team_sockets = log_origin, team_sockets
        self._slow_s, self._ping_s, self._key_check_s = slow_s, ping_s, key_check_s
        self._open: set[web.WebSocketResponse] = set()
        self._of_team: Counter[str] = Counter()
        self._is_closing = False

    def watched(self, handler: Handler, base_url: Callable[[web.Request], str]) -> Handler:
        """Make a handler of a job's address, whose path ends in the job's `{id}`, serve WebSockets too.

        `base_url` says how a lab came here: what links begin with.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            if asks_for_websocket(request):
                return await self._upgrade(request, JobAddress(base_url(request), request.path))
            return await handler(request)

        return handle

    @property
    def is_open(self) -> bool:
        """Whether anybody watches here."""
        return bool(self._open)

    async def close(self) -> None:
        """Say goodbye to every client; they ask another dispatcher."""
        self._is_closing = True
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY, message=b"the dispatcher leaves") for socket in self._open)
        )

    async def _upgrade(self, request: web.Request, address: JobAddress) -> web.StreamResponse:
        team_id = (await caller_of(request, self._service)).team_id
        job_id = request.match_info["id"]
        await self._pages.status(team_id, job_id, from_position=0, limit=0)
        with self._place(team_id):
            offered = offered_protocol(request)
            socket = web.WebSocketResponse(
                protocols=(offered,) if offered else (),
                heartbeat=self._ping_s,
                max_msg_size=_READ_BYTES,
                compress=False,
                timeout=_CLOSE_S,
            )
            await socket.prepare(request)
            self._open.add(socket)
            try:
                await self._serve(request, socket, team_id, job_id, address)
            finally:
                self._open.discard(socket)
        return socket

    async def _serve(
        self, request: web.Request, socket: web.WebSocketResponse, team_id: str, job_id: str, address: JobAddress
    ) -> None:
        """Tell until the job, the client or the right to watch has ended."""
        watch = JobWatch(
            pages=self._pages,
            ledger=self._ledger,
            events=self._events,
            log_origin=self._log_origin,
            team_id=team_id,
            job_id=job_id,
            address=address,
        )
        telling = asyncio.create_task(self._tell(socket, watch), name=f"watch of {job_id}")
        reading = asyncio.create_task(_until_gone(socket))
        allowed = asyncio.create_task(self._until_key_ends(bearer_of(request)))
        try:
            await asyncio.wait({telling, reading, allowed}, return_when=asyncio.FIRST_COMPLETED)
            code, words = WSCloseCode.OK, b""
            if telling.done():
                telling.result()
            elif allowed.done():
                code, words = WSCloseCode.POLICY_VIOLATION, b"the key has ended"
        except TimeoutError:
            _log.info("watcher_too_slow", job_id=job_id)
            if request.transport is not None:
                request.transport.abort()
            return
        except ConnectionError:
            return
        except (StoreError, RequestError) as error:
            _log.warning("watch_failed", job_id=job_id, error=str(error))
            code, words = WSCloseCode.TRY_AGAIN_LATER, b"a store of the network does not answer"
        finally:
            await end_tasks([telling, reading, allowed])
        await socket.close(code=code, message=words)

    async def _tell(self, socket: web.WebSocketResponse, watch: JobWatch) -> None:
        async with aclosing(watch.frames()) as frames:
            async for frame in frames:
                async with asyncio.timeout(self._slow_s):
                    await socket.send_frame(frame, WSMsgType.TEXT)

    async def _until_key_ends(self, bearer: str) -> None:
        while True:
            await asyncio.sleep(self._key_check_s)
            try:
                await self._service.caller_of(bearer)
            except Unauthorized:
                return
            except (RequestError, StoreError):
                continue

    @contextmanager
    def _place(self, team_id: str) -> Iterator[None]:
        if self._is_closing or self._of_team[team_id] >= self._team_sockets:
            raise TooManyRequests(
                f"this team has {self._of_team[team_id]} of {self._team_sockets} WebSockets open here; close one, or"
                " read the job's address without a WebSocket",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._of_team[team_id] += 1
        try:
            yield
        finally:
            self._of_team[team_id] -= 1
            if not self._of_team[team_id]:
                del self._of_team[team_id]


async def _until_gone(socket: web.WebSocketResponse) -> None:
    """Read, so that pongs and the closing are seen; what a client says is of no interest."""
    async for _ in socket:
        pass
