"""What links of the API begin with, for requests to a real server."""

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from dispatcher.adapters.api_address import ApiAddress


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (ApiAddress(), "http://api.example.org:81"),
        (ApiAddress(is_secure=True), "https://api.example.org:81"),
        (ApiAddress("https://labs.example.org/"), "https://labs.example.org"),
    ],
)
async def test_links_begin_with_what_the_operator_says_or_else_with_where_the_request_came_to(
    address: ApiAddress, expected: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=address.of(request))

    app = web.Application()
    app.router.add_get("/", answer)
    async with (
        TestServer(app) as server,
        ClientSession(headers={"Host": "api.example.org:81"}) as session,
        session.get(server.make_url("/")) as response,
    ):
        assert await response.text() == expected
