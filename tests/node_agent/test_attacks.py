"""No form of a private address is ever connected to: refused, with listening sockets that count every connection."""

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict

import ada_url
import pytest
from aiohttp import web

from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.fetching import FetchOrder, NotFetched
from protocol.messages import Failure, FailureCode, RefusalCode, Refuse
from protocol.urls import NO_TEST_SITES, AllowedUrl, Reason, Refusal, TestSites, check_url
from tests.node_agent.conftest import NamedAnswers, RunningNode, Site, running_node
from tests.node_agent.played_dispatcher import Dispatcher, Result


class UrlForm(TypedDict):
    family: str
    url: str
    reason: str


class NameForm(TypedDict):
    name: str
    answers: list[str]
    reason: str


class AllowedForm(TypedDict):
    url: str
    href: str


class Forms(TypedDict):
    urls: list[UrlForm]
    answers: list[NameForm]
    allowed: list[AllowedForm]


FORMS: Forms = json.loads((Path(__file__).parents[1] / "vectors" / "attack_urls.json").read_text("utf-8"))
REDIRECTS = (301, 302, 303, 307, 308)


class Traps:
    """Listening sockets on loopback; `connects` counts what they accepted."""

    def __init__(self) -> None:
        self.connects = 0
        self.ports: list[int] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        writer.close()


@pytest.fixture
async def traps() -> AsyncIterator[Traps]:
    trapped = Traps()
    async with contextlib.AsyncExitStack() as stack:
        for address in ("127.0.0.1", "::1"):
            for port in (80, 443, 22, 8080, 6379, 11211, 0):
                with contextlib.suppress(OSError):
                    server = await stack.enter_async_context(await asyncio.start_server(trapped, address, port))
                    trapped.ports.append(server.sockets[0].getsockname()[1])
        assert len(trapped.ports) >= 2
        _, writer = await asyncio.open_connection("127.0.0.1", trapped.ports[0])
        writer.close()
        await asyncio.sleep(0.02)
        assert trapped.connects == 1, "a trap that counts nothing proves nothing"
        trapped.connects = 0
        yield trapped


def test_there_are_enough_forms() -> None:
    assert len({form["url"] for form in FORMS["urls"]}) >= 120
    assert len({form["family"] for form in FORMS["urls"]}) >= 20


def test_ordinary_urls_pass() -> None:
    for form in FORMS["allowed"]:
        checked = check_url(form["url"])
        assert isinstance(checked, AllowedUrl), form
        assert checked.href == form["href"]


async def test_every_url_form_is_refused_without_a_connection(
    dispatcher: Dispatcher, node: RunningNode, traps: Traps
) -> None:
    jobs = [await dispatcher.give(form["url"]) for form in FORMS["urls"]]
    for job, form in zip(jobs, FORMS["urls"], strict=True):
        answer = await dispatcher.answer(job)
        assert isinstance(answer, Refuse), form
        assert answer.reason is RefusalCode.URL_REFUSED, form
        assert answer.detail.startswith(form["reason"]), (form, answer.detail)
        assert dispatcher.accepts(job) == 0
    assert traps.connects == 0


async def test_every_name_that_resolves_to_a_private_address_is_refused_without_a_connection(
    tmp_path: Path, dispatcher: Dispatcher, traps: Traps
) -> None:
    resolver = NamedAnswers({form["name"]: [form["answers"]] for form in FORMS["answers"]})
    async with running_node(tmp_path / "n", dispatcher, resolver=resolver) as node:
        node.rules.set_limits(max_concurrent_jobs=64)
        await dispatcher.connected()
        jobs = [await dispatcher.give(f"http://{form['name']}/") for form in FORMS["answers"]]
        for job, form in zip(jobs, FORMS["answers"], strict=True):
            answer = await dispatcher.answer(job)
            assert isinstance(answer, Refuse), form
            assert answer.reason is RefusalCode.ADDRESS_REFUSED, form
            assert not any(address in answer.detail for address in form["answers"])
        assert set(resolver.asked.values()) == {1}
    assert traps.connects == 0


async def test_address_of_the_own_network_is_the_nodes_own_matter(tmp_path: Path, dispatcher: Dispatcher) -> None:
    mine = ipaddress.ip_network("3000:0:0:1::/64")
    resolver = NamedAnswers({"home.example.com": [["3000:0:0:1::5"]]})
    async with AiohttpFetch(test_sites=NO_TEST_SITES, own_networks=lambda: [mine], resolver=resolver) as fetch:
        for url in ("http://home.example.com/", "http://[3000:0:0:1::7]/"):
            checked = check_url(url)
            assert isinstance(checked, AllowedUrl)
            order = FetchOrder(checked, None, 1_000, 1_000, 0, 2_000)

            async def no_hop(url: AllowedUrl) -> None:
                return None

            page = await fetch.fetch(order, ask_hop=no_hop, count_bytes=lambda count: True)
            assert isinstance(page, NotFetched)
            assert page.reason is RefusalCode.BLOCKED_BY_OWNER
            assert "3000" not in page.detail


async def test_rebinding_name_never_reaches_loopback(tmp_path: Path, dispatcher: Dispatcher, traps: Traps) -> None:
    """The first answer is an address that nobody routes (unallocated 3000::/5), the later ones are loopback."""
    resolver = NamedAnswers({"rebind.example.com": [["3000::1"], ["127.0.0.1"], ["::1"], ["3000::1", "127.0.0.1"]]})
    async with running_node(tmp_path / "n", dispatcher, resolver=resolver):
        await dispatcher.connected()
        first = await dispatcher.failure("http://rebind.example.com/", timeout_ms=700)
        assert first.reason in {FailureCode.CONNECT_FAILED, FailureCode.TIMEOUT}
        assert "3000" not in first.detail
        for _ in range(4):
            refusal = await dispatcher.refusal("http://rebind.example.com/")
            assert refusal.reason is RefusalCode.ADDRESS_REFUSED
    assert resolver.asked["rebind.example.com"] == 5
    assert traps.connects == 0


async def test_page_rebinds_its_own_name_between_redirects(
    tmp_path: Path, dispatcher: Dispatcher, traps: Traps
) -> None:
    """Even the name of an allowed test site may not lead to its neighbours."""
    site = Site()

    async def to_port_80(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://rebind.example.com/?depth={len(site.requests)}")

    site.handlers["/"] = to_port_80
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = int(runner.addresses[0][1])
    resolver = NamedAnswers({"rebind.example.com": [["127.0.0.1"]]})
    allowed = f"rebind.example.com:{site.port}"
    async with running_node(tmp_path / "n", dispatcher, resolver=resolver, test_sites=(allowed,)):
        await dispatcher.connected()
        failure = await dispatcher.failure(f"http://{allowed}/")
        assert failure.reason is FailureCode.HOP_REFUSED
    await runner.cleanup()
    assert len(site.requests) == 1
    assert traps.connects == 0


async def test_redirects_to_every_form_are_refused_without_a_connection(
    tmp_path: Path, dispatcher: Dispatcher, site: Site, traps: Traps
) -> None:
    targets = [form["url"] for form in FORMS["urls"] if isinstance(_as_location(form["url"], site), Refusal)]
    assert len(targets) >= 120

    async def redirect(request: web.Request) -> web.StreamResponse:
        number, depth = int(request.query["to"]), int(request.query["depth"])
        status = REDIRECTS[(number + depth) % len(REDIRECTS)]
        location = f"/hop?to={number}&depth={depth - 1}" if depth else targets[number].strip()
        return web.Response(status=status, headers={"Location": location.replace("\n", "").replace("\t", "")})

    site.handlers["/hop"] = redirect
    async with running_node(tmp_path / "n", dispatcher, test_sites=(site.host,)) as node:
        node.rules.set_limits(max_concurrent_jobs=64)
        await dispatcher.connected()
        for start in range(0, len(targets), 50):
            batch = range(start, min(start + 50, len(targets)))
            jobs = [await dispatcher.give(site.url(f"/hop?to={n}&depth={n % 5}")) for n in batch]
            for number, job in zip(batch, jobs, strict=True):
                answer = await dispatcher.answer(job)
                assert isinstance(answer, Failure), targets[number]
                assert answer.reason is FailureCode.HOP_REFUSED, (targets[number], answer)
    assert traps.connects == 0


def _as_location(target: str, site: Site) -> AllowedUrl | Refusal:
    """Read a form as a Location header: relative ones are no attack, they stay on the site."""
    if not target.strip() or not target.isascii():
        return AllowedUrl(target, "http", "", 80, is_test_site=True)
    try:
        absolute = ada_url.URL(target.replace("\n", "").replace("\t", "").strip(), base=site.url("/hop")).href
    except ValueError:
        return AllowedUrl(target, "http", "", 80, is_test_site=True)
    return check_url(absolute, test_sites=TestSites.parse([site.host]))


async def test_meta_refresh_is_data(dispatcher: Dispatcher, node: RunningNode, site: Site, traps: Traps) -> None:
    body = b'<meta http-equiv="refresh" content="0;url=http://127.0.0.1/"><script>location="http://[::1]/"</script>'
    site.page("/meta", body, Refresh="0; url=http://127.0.0.1/")
    result = await dispatcher.result(site.url("/meta"))
    assert result.payload == body
    assert traps.connects == 0


async def test_without_the_allowance_the_site_is_not_reached(
    tmp_path: Path, dispatcher: Dispatcher, site: Site
) -> None:
    async with running_node(tmp_path / "n", dispatcher):
        await dispatcher.connected()
        refusal = await dispatcher.refusal(site.url())
        assert refusal.reason is RefusalCode.URL_REFUSED
        assert refusal.detail.startswith(Reason.PORT)
    assert not site.requests


async def test_allowance_holds_for_one_host_and_port(
    tmp_path: Path, dispatcher: Dispatcher, site: Site, traps: Traps
) -> None:
    async with running_node(tmp_path / "n", dispatcher, test_sites=(site.host,)):
        await dispatcher.connected()
        assert isinstance(await dispatcher.fetch(f"http://2130706433:{site.port}/"), Result)
        for other in (f"http://127.0.0.1:{traps.ports[0]}/", f"http://[::1]:{site.port}/", "http://127.0.0.1/"):
            assert isinstance(await dispatcher.fetch(other), Refuse)
    assert traps.connects == 0
