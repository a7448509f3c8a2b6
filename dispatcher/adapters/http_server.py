"""An aiohttp application on a port that other dispatchers may share, and its end without a failed request.

The end has three parts. `leave`: no new connections; from then on every answer says `Connection: close` (RFC 9112,
section 9.6), so that clients with a connection of theirs open do not use it again. `quiet`: open connections are left
alone for a while, for the request each of them may be about to send. `close`: idle connections are closed, and requests
that are being answered are waited for.
"""

import asyncio
from collections.abc import Callable

from aiohttp import hdrs, web

from dispatcher.adapters.reuseport_listener import Listener, ProtocolFactory, listen

_LOOK_S = 0.05


class HttpServer:
    """Owns the listening sockets and the connections to the application. Made by `start`."""

    def __init__(self, runner: web.AppRunner, listener: Listener, leaving: "_Leaving") -> None:
        self._runner, self._listener, self._leaving = runner, listener, leaving

    @classmethod
    async def start(
        cls,
        app: web.Application,
        in_front: Callable[[Callable[[], asyncio.Protocol]], ProtocolFactory],
        *,
        host: str,
        port: int,
        is_shared: bool,
    ) -> "HttpServer":
        """Serve `app`; `in_front` makes the protocol of a new connection, given that of the application.

        SetupError where the port cannot be used.
        """
        leaving = _Leaving()
        app.on_response_prepare.append(leaving.say)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        try:
            listener = await listen(in_front(runner.server), host=host, port=port, is_shared=is_shared)
        except BaseException:
            await runner.cleanup()
            raise
        return cls(runner, listener, leaving)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._listener.port

    async def leave(self) -> None:
        """Take no new connections, losing none that has begun, and ask clients to leave with their next answer."""
        self._leaving.is_on = True
        await self._listener.leave()

    async def quiet(self, *, at_least_s: float, at_most_s: float) -> None:
        """Wait until no client is connected, for so long at most; and at least so long, for those that connected just
        now and have not asked yet."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.sleep(at_least_s)
        while self._runner.server and self._runner.server.connections and loop.time() < began_s + at_most_s:  # noqa: ASYNC110 (aiohttp tells of no end)
            await asyncio.sleep(_LOOK_S)

    async def close(self, *, busy_s: float) -> None:
        """Close what is idle, wait `busy_s` for requests that are being answered, and close everything."""
        self._leaving.is_on = True
        self._listener.close()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            await self._runner.server.shutdown(busy_s)
        await self._runner.cleanup()


class _Leaving:
    """Makes answers say that their connection is closed, once it is on (`on_response_prepare`)."""

    def __init__(self) -> None:
        self.is_on = False

    async def say(self, _: web.Request, response: web.StreamResponse) -> None:
        if self.is_on and not isinstance(response, web.WebSocketResponse):
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"
