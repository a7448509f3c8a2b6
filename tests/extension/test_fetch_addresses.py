"""The shipped fetch in real browsers never reads what is not public, and how far each browser lets it go on the way.

Firefox resolves and checks a name before anything is connected: nothing may leave the browser. Chromium lends no
resolver to extensions. It connects to what a name resolves to, and then, before a request is sent, ends those whose
address its own tables do not call public; for the rest the response is dropped unread.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.extension import chromium
from tests.extension.conftest import DOMAIN, NEWS, SHOP, World
from tests.extension.fetch_probe import BROWSERS, BrowserName, Prober, Report, missing, probing
from tests.extension.firefox_profile import Preference
from tests.extension.proxy import relaying
from tests.extension.sandbox import SITE_ADDRESSES
from tests.extension.site import Site, serving
from tests.extension.site_answers import Answer
from tests.network.site import page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

ATTACKS = json.loads((Path(__file__).parents[1] / "vectors" / "attack_urls.json").read_text())
NOT_PUBLIC = "the address is not on the public internet"
AGENT = "MeadowBot/0.1 (+https://meadow.example/bot)"
REFUSED = ("refusal", "address_refused", NOT_PUBLIC)
PUBLIC = SITE_ADDRESSES[0]

PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.178.1", "169.254.169.254", "100.64.1.1", "0.0.0.0"),
    *("::1", "fd00:ec2::254", "fc00::1", "fec0::1", "2001:db8::1", "3fff::1"),
)
"""What Chromium too keeps a request from."""
SPECIAL = (
    *("168.63.129.16", "192.0.0.8", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1"),
    *("198.18.0.10", "198.51.100.1", "203.0.113.1", "240.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:7f00:1::", "2600::5efe:7f00:1"),
    *("100::1", "3ffe::1", "5f00::1", "2620:4f:8000::1", "::127.0.0.1"),
)
"""Denied by section 10.2, public by Chromium's tables: a request is sent there, and its response dropped."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def opened_inside(opened_world: World) -> Iterator[Site]:
    addresses = [address for address in (*PRIVATE, *SPECIAL) if address != "0.0.0.0"]
    with serving(addresses, tls=opened_world.authority.context) as site:
        yield site


@pytest.fixture
def inside(opened_inside: Site) -> Site:
    """A site at every address that may not be read, so that a request there would show."""
    opened_inside.reset()
    return opened_inside


@pytest.fixture(scope="module", params=BROWSERS)
def opened(
    request: pytest.FixtureRequest, opened_inside: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prober]:
    del opened_inside  # outlives the browser
    name: BrowserName = request.param
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    with probing(request.getfixturevalue("opened_world"), name, tmp_path_factory.mktemp(name)) as prober:
        yield prober


@pytest.fixture
def prober(opened: Prober, world: World, inside: Site) -> Prober:
    del world, inside  # resets what was seen
    return opened


def named(world: World, *answers: Sequence[str]) -> str:
    """A name never asked for before, whose questions are answered by these lists of addresses, the last for good."""
    name = f"n{next(_numbers)}.{DOMAIN}"
    world.names.script(name, answers)
    return name


def strays(world: World) -> set[tuple[str, str, int]]:
    """Where packets went that are no site's address."""
    time.sleep(0.6)  # Chromium tries a second connection a quarter of a second after the first
    return {(sent.protocol, sent.address, sent.port) for sent in world.wire.outside()} - {
        (protocol, address, port) for protocol in ("tcp", "udp") for address in SITE_ADDRESSES for port in (80, 443)
    }


def assert_refused(report: Report, what: object, *, is_hop: bool = False) -> None:
    hop = ("failure", "hop_refused", f"the page redirects to a refused host: {NOT_PUBLIC}")
    assert report.words == (hop if is_hop else REFUSED), what
    assert (report.payload, sum(report.counted)) == (b"", 0), what


# --- forms of URLs ---


def test_no_form_of_a_refused_url_is_asked_for(prober: Prober, world: World) -> None:
    urls = [attack["url"] for attack in ATTACKS["urls"]]
    assert len(urls) >= 250
    for attack, report in zip(ATTACKS["urls"], prober.fetch_all(urls), strict=True):
        # Chromium reads some of what is no URL as one whose host is no name.
        reasons = {attack["reason"]} | ({"host_name"} if attack["family"] == "no URL" else set())
        assert report.words[0] == "unasked" and report.words[1] in reasons, attack
    assert (world.names.asked, world.trap.caught, world.site.connections, strays(world)) == ([], [], 0, set())


def test_even_unchecked_no_literal_is_connected(prober: Prober, world: World) -> None:
    urls = [attack["url"] for attack in ATTACKS["urls"] if attack["reason"] == "private_address"]
    urls += [f"http://{f'[{address}]' if ':' in address else address}/" for address in (*PRIVATE, *SPECIAL)]
    for url, report in zip(urls, prober.fetch_all(urls, forced=True), strict=True):
        assert_refused(report, url)
    assert (world.trap.caught, strays(world)) == ([], set())


def test_no_redirect_leads_to_a_refused_url(prober: Prober, world: World) -> None:
    refused = [attack["url"] for attack in ATTACKS["urls"] if _fits_a_header(attack["url"])]
    assert len(refused) >= 200
    for number, url in enumerate(refused):
        world.site.answers[f"/moved/{number}"] = Answer(
            raw=b"HTTP/1.1 302 Said\r\nLocation: " + url.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        )
    for start in range(0, len(refused), 32):
        part = range(start, min(start + 32, len(refused)))
        for number, report in zip(part, prober.fetch_all([f"http://{NEWS}/moved/{n}" for n in part]), strict=True):
            if report.is_page or report.hops_asked:
                # A form without a scheme is a reference to the page's own site.
                assert {hop.split("/")[2] for hop in report.hops_asked} == {NEWS}, refused[number]
            else:
                assert report.words[:2] in (("failure", "hop_refused"), ("failure", "bad_response")), refused[number]
    assert ({seen.host for seen in world.site.requests}, world.trap.caught, strays(world)) == ({NEWS}, [], set())


def _fits_a_header(url: str) -> bool:
    return len(url) < 8_000 and url == url.strip() and not any(c < " " or "\ud800" <= c <= "\udfff" for c in url)


# --- names ---


def test_a_name_that_leads_elsewhere_is_refused(prober: Prober, world: World, inside: Site) -> None:
    answers = [(address,) for address in PRIVATE]
    if prober.name == "firefox":
        answers += [(address,) for address in SPECIAL]
        answers += [tuple(attack["answers"]) for attack in ATTACKS["answers"] if "%" not in attack["answers"][0]]
    for scheme in ("http", "https"):
        reports = prober.fetch_all([f"{scheme}://{named(world, answer)}/" for answer in answers])
        for answer, report in zip(answers, reports, strict=True):
            assert_refused(report, (scheme, answer))
    assert inside.requests == []
    if prober.name == "firefox":
        assert (inside.connections, world.trap.caught, strays(world)) == (0, [], set())


def test_chromium_drops_what_its_own_tables_call_public(prober: Prober, world: World, inside: Site) -> None:
    if prober.name != "chromium":
        pytest.skip("Firefox connects to none of these")
    for address, report in zip(
        SPECIAL, prober.fetch_all([f"http://{named(world, [address])}/" for address in SPECIAL]), strict=True
    ):
        assert_refused(report, address)
    assert {seen.header("cookie") for seen in inside.requests} <= {None}
    assert {seen.header("user-agent") for seen in inside.requests} == {AGENT}


MIXED = (
    (PUBLIC, "10.1.2.3"),
    ("10.1.2.3", PUBLIC),
    (PUBLIC, "fd00:ec2::254"),
    (SITE_ADDRESSES[3], PUBLIC, "127.0.0.1"),
)


def test_one_denied_address_refuses_the_whole_answer(prober: Prober, world: World, inside: Site) -> None:
    reports = prober.fetch_all([f"http://{named(world, answer)}/p/1" for answer in MIXED])
    for answer, report in zip(MIXED, reports, strict=True):
        if prober.name == "firefox" or not report.is_page:
            assert_refused(report, answer)
        else:  # Chromium shows the address that it took, not the rest of the answer
            assert report.body.decode() == page("/p/1")
    assert inside.requests == []
    if prober.name == "firefox":
        assert (inside.connections, world.site.connections) == (0, 0)


def test_a_name_that_moves_between_two_questions_leads_nowhere_else(prober: Prober, world: World, inside: Site) -> None:
    for public_answers in range(1, 5):
        for private in ("10.1.2.3", "fd00:ec2::254"):
            name = named(world, *[[PUBLIC]] * public_answers, [private])
            reports = [prober.fetch(f"http://{name}/p/2") for _ in range(5)]
            assert all(report.is_page or report.words == REFUSED for report in reports)
            # Firefox asks anew each time, and connects to nothing but what that answer said.
            assert reports[-1].words == REFUSED or prober.name == "chromium"
    assert inside.requests == []
    if prober.name == "firefox":
        assert (inside.connections, strays(world)) == (0, set())


TARGETS = ("http://10.1.2.3/", "http://[fd00:ec2::254]/", "http://2130706433/", "https://169.254.169.254/latest/")


@pytest.mark.parametrize("depth", range(5))
def test_redirects_lead_to_no_private_literal(prober: Prober, world: World, depth: int) -> None:
    for target in TARGETS:
        report = prober.fetch(_chain(world, depth, target))
        detail = f"the page redirects to a refused URL: {NOT_PUBLIC}"
        assert report.words == ("failure", "hop_refused", detail)
        assert len(report.hops_asked) == depth
    assert (world.trap.caught, strays(world)) == ([], set())


@pytest.mark.parametrize("depth", range(5))
def test_redirects_lead_to_no_private_name(prober: Prober, world: World, inside: Site, depth: int) -> None:
    for address in ("10.1.2.3", "fd00:ec2::254", "169.254.169.254"):
        name = named(world, [address])
        assert_refused(prober.fetch(_chain(world, depth, f"http://{name}/")), address, is_hop=True)
    gone_to = strays(world)
    assert inside.requests == []
    if prober.name == "firefox":
        assert (inside.connections, world.trap.caught, gone_to) == (0, [], set())


def _chain(world: World, depth: int, target: str) -> str:
    """A page that redirects `depth` times between public sites, then to the target; its URL."""
    mark = next(_numbers)
    steps = [f"http://{(NEWS, SHOP)[step % 2]}/chain/{mark}/{step}" for step in range(depth + 1)]
    for step, following in enumerate([*steps[1:], target]):
        moved = Answer(status=302, headers=(("Location", following),))
        world.site.answers[f"/chain/{mark}/{step}"] = moved
    return steps[0]


def test_the_sharers_own_network_is_the_sharers_own_matter(prober: Prober, world: World) -> None:
    own = {"own_networks": ["93.184.216.0/24", "2606:2800:220:1::/64"]}
    mine = ("refusal", "blocked_by_owner", "the address is in this machine's own network")
    for address in SITE_ADDRESSES[:2]:
        assert prober.fetch(f"http://{address}/", **own).words == mine
    assert world.site.connections == 0
    assert prober.fetch(f"http://{named(world, [SITE_ADDRESSES[3]])}/", **own).words == mine
    assert prober.fetch(f"http://{named(world, ['151.101.1.69'])}/to?http://{SHOP}/p/3", **own).words == mine
    if prober.name == "firefox":
        assert {seen.address for seen in world.site.requests} == {"151.101.1.69"}


# --- other ways out ---


def test_a_page_cannot_send_the_browser_to_another_server(prober: Prober, world: World) -> None:
    world.names.records[f"inner.{DOMAIN}"] = ("10.1.2.3",)
    for number, service in enumerate(('h2="10.0.0.8:443"', f'h2="inner.{DOMAIN}:443"', 'h2=":8443"', 'h3=":8443"')):
        host = f"service{number}.{DOMAIN}"
        world.names.records[host] = (PUBLIC,)
        world.site.answers["/served"] = Answer(headers=(("Alt-Svc", f"{service}; ma=3600"),), body=b"x")
        for _ in range(3):
            assert prober.fetch(f"https://{host}/served").body == b"x"
            time.sleep(0.2)
    assert (world.trap.caught, strays(world)) == ([], set())


def test_a_request_that_the_adapter_did_not_make_is_stopped_where_it_can_be(prober: Prober, world: World) -> None:
    if prober.name != "firefox":
        pytest.skip("Chromium lends extensions no way to stop a request")
    for url in (f"http://{NEWS}/", f"http://{NEWS}/#meadow-0", "http://10.1.2.3/"):
        assert prober.fetch(url, untagged=True).outcome == {"kind": "failed"}
    assert (world.site.connections, world.trap.caught, strays(world)) == (0, [], set())


@pytest.mark.parametrize("kind", ["http", "socks"])
def test_a_proxy_is_named_and_not_used(
    world: World, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser_name: BrowserName
) -> None:
    host, port = "10.0.0.9", 3128
    monkeypatch.setattr(chromium, "ARGUMENTS", tuple(a for a in chromium.ARGUMENTS if a != "--no-proxy-server"))
    scheme = "http" if kind == "http" else "socks5"
    preferences: dict[str, Preference] = {"network.proxy.type": 1, "network.proxy.share_proxy_settings": False}
    for protocol in ("http", "ssl") if kind == "http" else ("socks",):
        preferences |= {f"network.proxy.{protocol}": host, f"network.proxy.{protocol}_port": port}
    proxied = (
        "refusal",
        "unsupported_mode",
        "this browser's requests go through a proxy, so no address can be checked",
    )
    more = (f"--proxy-server={scheme}://{host}:{port}",)
    with (
        relaying(host, port) as proxy,
        probing(world, browser_name, tmp_path, more=more, preferences=preferences) as prober,
    ):
        for url in (f"http://{NEWS}/p/1", f"https://{NEWS}/p/1", f"http://{PUBLIC}/p/1"):
            report = prober.fetch(url)
            assert (report.words, report.outcome.get("sign")) == (proxied, "proxy"), url
    # Chromium finds out by connecting to a host through the proxy; no request for a page goes there.
    assert NEWS in proxy.asked_for if browser_name == "chromium" else NEWS not in proxy.asked_for
    assert [seen.target for seen in world.site.requests if seen.host in (NEWS, PUBLIC)] == []


@pytest.fixture(params=BROWSERS)
def browser_name(request: pytest.FixtureRequest) -> BrowserName:
    name: BrowserName = request.param
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    return name
