"""The middlewares that only requests which may change something pass. One that reads passes by all of them at once:
labs ask where their jobs stand far more often than they ask for anything."""

from functools import partial, reduce
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from dispatcher.adapters.lab_errors import Handler

READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


def for_changes(*middlewares: Middleware) -> Middleware:
    """Make one middleware of several, the outermost first, for requests with any other method than `READING`."""

    @web.middleware
    async def changing(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in READING:
            return await handler(request)
        inner: Handler = reduce(
            lambda within, middleware: partial(middleware, handler=within), middlewares[::-1], handler
        )
        return await inner(request)

    return changing
