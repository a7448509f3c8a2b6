"""The health of one dispatcher under `/healthz`: 200 while its stores answer, 503 naming those that do not."""

import asyncio
from collections.abc import Awaitable

import msgspec
from aiohttp import web

from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier
from dispatcher.ledger import Ledger

_ANSWER_S = 2.0


class HealthAnswer(msgspec.Struct, frozen=True):
    """`ok` is whether everything is; `stores` says of each store `ok`, or what is wrong."""

    ok: bool
    stores: dict[str, str]


class Health:
    """Asks the stores at each request."""

    def __init__(self, *, ledger: Ledger, frontier: Frontier) -> None:
        self._ledger, self._frontier = ledger, frontier

    async def handle(self, _: web.Request) -> web.Response:
        """Serve `/healthz`."""
        stores = {
            "ledger": await _state(self._ledger.log_size()),
            "frontier": await _state(self._frontier.size()),
        }
        answer = HealthAnswer(all(state == "ok" for state in stores.values()), stores)
        return web.Response(
            body=msgspec.json.encode(answer), status=200 if answer.ok else 503, content_type="application/json"
        )


async def _state(question: Awaitable[int]) -> str:
    try:
        await asyncio.wait_for(question, _ANSWER_S)
    except StoreError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_ANSWER_S:.0f} s"
    return "ok"
