"""Spans and counts of labs' requests: a middleware of the application that serves them."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.tracing import Tracing

_TRACED = ("/v1/", "/v2/")
_NODES = "/v1/node"


def trace_requests(tracing: Tracing) -> Middleware:
    """Return a middleware that opens a span per request of a lab; it goes first in the application's list."""

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = request.match_info.route.resource
        pattern = route.canonical if route is not None else ""
        if pattern == _NODES or not pattern.startswith(_TRACED):
            return await handler(request)
        with tracing.request(request.method, pattern, request.headers.get("traceparent")) as span:
            response = await handler(request)
            span.answered(response.status)
            return response

    return traced
