"""What a site says of the use of a page: vectors for each published format, by hand, and what is malformed."""

import msgspec
import pytest

from cleaning.document import Document
from cleaning.pipeline import to_document
from cleaning.usage_signals import LicenseLink, UsageSignals
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.compliance_signals import (
    Compliance,
    LicenseSignal,
    RobotsDirectives,
    Tdmrep,
    combined,
    compliance_of,
    parse_links,
    preferences_of,
    robots_tag,
    signal_names,
)
from dispatcher.robots_usage import MAX_BYTES, RobotsUsage, read_usage, usage_lines
from protocol.job import Purpose
from protocol.record import Header, HeaderName, Record

URL = "https://site.example/ai-ok/page?x=1"


def record(headers: dict[HeaderName, str], *, purpose: Purpose = "train-ai") -> Record:
    return Record(
        job_id="01900000-0000-7000-8000-000000000000",
        lease=1,
        job_hash="0" * 64,
        node_key="A" * 43,
        wallet="1" * 32,
        url=URL,
        final_url="https://site.example/final/",
        mode="direct",
        purpose=purpose,
        status=200,
        headers=tuple(Header(name, value) for name, value in headers.items()),
        content_type="text/html",
        content_encoding="identity",
        body_hash="0" * 64,
        body_bytes=1,
        wire_bytes=1,
        started_ms=1,
        finished_ms=2,
    )


def seen(
    headers: dict[HeaderName, str] | None = None,
    *,
    robots: RobotsUsage | None = None,
    markup: UsageSignals | None = None,
    purpose: Purpose = "train-ai",
) -> Compliance:
    return compliance_of(record(headers or {}, purpose=purpose), robots_hash=None, robots=robots, markup=markup)


def test_a_page_of_which_nothing_is_said() -> None:
    found = seen(purpose="research")
    assert msgspec.to_builtins(found) == {
        "purpose": "research",
        "robotsHash": None,
        "aipref": None,
        "tdmrep": None,
        "rsl": (),
        "licenses": (),
        "robotsDirectives": (),
    }
    assert list(signal_names(found)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # draft-ietf-aipref-vocab, section 6: the examples and what the text says of errors
        ("train-ai=y, search=n", ("allow", "unknown", "disallow")),
        ('train-ai=y, train-ai, search=n, search="n"', ("unknown", "unknown", "unknown")),
        ("train-ai;allow=n, train-ai=y", ("allow", "unknown", "unknown")),
        ('train-ai;has;parameters="?";', ("unknown", "unknown", "unknown")),
        ("Train-AI=n", ("unknown", "unknown", "unknown")),
        ("train-ai=n, search=", ("unknown", "unknown", "unknown")),
        ("train-ai=N", ("unknown", "unknown", "unknown")),
        ("train-ai=?0", ("unknown", "unknown", "unknown")),
        ("train-ai=(n)", ("unknown", "unknown", "unknown")),
        ("other=n, ai-use=n;why=x", ("unknown", "disallow", "unknown")),
        ("", ("unknown", "unknown", "unknown")),
        ("train-ai=n\xff", ("unknown", "unknown", "unknown")),
        ("  train-ai=n  ", ("disallow", "unknown", "unknown")),
    ],
)
def test_aipref_preference_expressions(text: str, expected: tuple[str, str, str]) -> None:
    assert tuple(preferences_of(text)[name] for name in ("train-ai", "ai-use", "search")) == expected


def test_the_most_restrictive_preference_applies() -> None:
    both = combined([preferences_of("train-ai=y, search=y"), preferences_of("train-ai=n, ai-use=y")])
    assert both == {"train-ai": "disallow", "ai-use": "allow", "search": "allow"}
    assert combined([]) == {"train-ai": "unknown", "ai-use": "unknown", "search": "unknown"}


ROBOTS = """User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: / train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: / train-ai=y
"""
"""draft-ietf-aipref-attach, section 3.4."""


@pytest.mark.parametrize(
    ("agent", "path", "expected"),
    [
        ("MeadowBot", "/test", ("train-ai=n",)),
        ("MeadowBot", "/ai-ok/test", ("train-ai=y",)),
        ("ExampleBot", "/ai-ok/test", ("train-ai=y",)),
        ("examplebot", "/test", ("train-ai=y",)),
    ],
)
def test_the_rules_of_the_published_example(agent: str, path: str, expected: tuple[str, ...]) -> None:
    assert read_usage(usage_lines(ROBOTS, agent)).preferences(path) == expected


@pytest.mark.parametrize(
    ("pattern", "target", "matches"),
    [
        ("/", "/a", True),
        ("/a", "/ab", True),
        ("/a$", "/ab", False),
        ("/a$", "/a", True),
        ("/*.php", "/x/y.php?z", True),
        ("/*.php$", "/x/y.php?z", False),
        ("/*.php$", "/x.php/y.php", True),
        ("/a*b*c", "/axxbxxc/", True),
        ("/a*b*c", "/axxcxxb", False),
        ("/ab*ab$", "/ab", False),
        ("/ab*ab$", "/abab", True),
        ("/x?y", "/x?y=1", True),
        ("/b", "/a", False),
        ("/" + "*a" * 200 + "$", "/" + "a" * 5_000 + "b", False),
    ],
)
def test_paths_match_as_in_rfc_9309(pattern: str, target: str, matches: bool) -> None:
    usage = RobotsUsage(rules=((pattern, "train-ai=n"),))
    assert usage.preferences(target) == (("train-ai=n",) if matches else ())


def test_robots_lines_as_people_write_them() -> None:
    text = (
        "License: https://site.example/license.xml  # ours\r"
        "user-agent : meadowbot\r\n"
        "User-agent: other\n"
        "  content-usage\t:  /a\ttrain-ai=n   # no\n"
        "content-usage: train-ai=n, search=y\n"
        "content-usage: /only-a-path\n"
        "Content-Usage:\n"
        "User-agent: *\n"
        "Content-Usage: / train-ai=y\n"
        "license: https://other.example/l\n"
        "License-Server: x\n"
    )
    kept = usage_lines(text, "MeadowBot")
    assert kept.split("\n") == [
        "License: https://site.example/license.xml",
        "License: https://other.example/l",
        "Content-Usage: /a train-ai=n",
        "Content-Usage: / train-ai=n, search=y",
    ]
    usage = read_usage(kept)
    assert usage.licenses == ("https://site.example/license.xml", "https://other.example/l")
    assert usage.preferences("/a/b") == ("train-ai=n",)
    assert usage.preferences("/b") == ("train-ai=n, search=y",)
    assert usage_lines("User-agent: *\nDisallow: /\n", "MeadowBot") == ""
    assert usage_lines("# the license is free\nUser-agent: *\nDisallow:\n", "MeadowBot") == ""


def test_rules_that_contradict_apply_separately() -> None:
    lines = usage_lines("User-agent: *\nContent-Usage: / train-ai=y\nContent-Usage: / train-ai=n\n", "MeadowBot")
    found = seen({"content-usage": "search=y"}, robots=read_usage(lines))
    assert found.aipref is not None
    assert (found.aipref.header, found.aipref.robots) == ("search=y", ("train-ai=y", "train-ai=n"))
    assert found.aipref.preferences == {"train-ai": "disallow", "ai-use": "unknown", "search": "allow"}


def test_what_is_kept_of_a_hostile_file_is_bounded_and_text() -> None:
    flood = "User-agent: *\n" + "".join(f"Content-Usage: /{n} train-ai=n\n" for n in range(50_000))
    kept = usage_lines(flood, "MeadowBot")
    assert MAX_BYTES - 100 < len(kept.encode()) <= MAX_BYTES
    assert usage_lines("User-agent: *\nContent-Usage: /\0 train-ai=n\nLicense: \x1b[31m\n", "MeadowBot") == ""
    rules = RobotsRules(RobotsState.FOUND, flood.encode() + b"\xff\xfe")
    assert rules.usage == kept and RobotsRules(RobotsState.ABSENT).usage == ""


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [("train-ai", "disallow"), ("rag", "unknown"), ("search", "allow"), ("research", "unknown")],
)
def test_what_is_said_of_the_declared_purpose(purpose: Purpose, expected: str) -> None:
    found = seen({"content-usage": "train-ai=n, search=y"}, purpose=purpose)
    assert found.aipref is not None and found.aipref.for_purpose == expected and found.purpose == purpose


@pytest.mark.parametrize(
    ("headers", "markup", "expected"),
    [
        # W3C TDM Reservation Protocol: header fields, markup, and markup over header
        ({"tdm-reservation": "1"}, None, Tdmrep(reservation=1, source="header")),
        ({"tdm-reservation": "0"}, None, Tdmrep(reservation=0, source="header")),
        (
            {"tdm-reservation": "1", "tdm-policy": "https://provider.com/policies/policy.json"},
            None,
            Tdmrep(reservation=1, policy="https://provider.com/policies/policy.json", source="header"),
        ),
        ({"tdm-reservation": "1, 1"}, None, Tdmrep(reservation=1, source="header")),
        ({"tdm-reservation": "1, 0"}, None, Tdmrep(reservation=None, source="header")),
        ({"tdm-reservation": "2"}, None, Tdmrep(reservation=None, source="header")),
        (
            {"tdm-reservation": "yes", "tdm-policy": "/p"},
            None,
            Tdmrep(reservation=None, policy="https://site.example/p", source="header"),
        ),
        ({"tdm-policy": "javascript:x"}, None, Tdmrep(reservation=None, source="header")),
        ({}, UsageSignals(tdm_reservation="1"), Tdmrep(reservation=1, source="html")),
        (
            {"tdm-reservation": "0", "tdm-policy": "https://a.example/"},
            UsageSignals(tdm_reservation="1", tdm_policy="https://b.example/"),
            Tdmrep(reservation=1, policy="https://b.example/", source="html"),
        ),
        ({}, UsageSignals(robots=(("robots", "noai"),)), None),
    ],
)
def test_tdm_reservation(headers: dict[HeaderName, str], markup: UsageSignals | None, expected: Tdmrep | None) -> None:
    assert seen(headers, markup=markup).tdmrep == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # rslstandard.org, "Adding RSL to HTTP Headers"; RFC 8288, section 3.5 and appendix B
        (
            '<https://example.com/license.xml>; rel="license"; type="application/rsl+xml"',
            [("https://example.com/license.xml", {"rel": "license", "type": "application/rsl+xml"})],
        ),
        (
            '<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter"',
            [("http://example.com/TheBook/chapter2", {"rel": "previous", "title": "previous chapter"})],
        ),
        (
            '</>; rel="http://example.net/foo", </b>;rel=license',
            [("/", {"rel": "http://example.net/foo"}), ("/b", {"rel": "license"})],
        ),
        ('<a,b;c>; title="x, <y>; \\"z\\"" ; rel=license', [("a,b;c", {"title": 'x, <y>; "z"', "rel": "license"})]),
        ("<a>; rel=license; rel=next", [("a", {"rel": "license"})]),
        ("<a>;flag;REL = license", [("a", {"flag": "", "rel": "license"})]),
        ("no link", []),
        ("<a", []),
        ("", []),
        ("<a>; rel=x,,<b>", [("a", {"rel": "x"}), ("b", {})]),
    ],
)
def test_link_headers(value: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert list(parse_links(value)) == expected


def test_licences_from_header_robots_and_markup() -> None:
    link = '</l.xml>; rel="license"; type="application/rsl+xml", <https://cc.example/by>; rel="next license", <x>; rel=next, <data:x>; rel=license'
    markup = UsageSignals(
        licenses=(LicenseLink("https://cc.example/by"), LicenseLink("https://r.example/l", "application/rsl+xml"))
    )
    found = seen(
        {"link": link}, robots=RobotsUsage(licenses=("https://site.example/all.xml", "ftp://x/")), markup=markup
    )
    assert found.rsl == (
        LicenseSignal(url="https://site.example/l.xml", source="header"),
        LicenseSignal(url="https://site.example/all.xml", source="robots.txt"),
        LicenseSignal(url="https://r.example/l", source="html"),
    )
    assert found.licenses == (
        LicenseSignal(url="https://cc.example/by", source="header"),
        LicenseSignal(url="https://cc.example/by", source="html"),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("noindex", [("*", ("noindex",))]),
        ("NoAI,  noimageai , noai", [("*", ("noai", "noimageai"))]),
        (
            "googlebot: nofollow, otherbot: noindex, nofollow",
            [("googlebot", ("nofollow",)), ("otherbot", ("noindex", "nofollow"))],
        ),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", [("*", ("unavailable_after: 25 jun 2010 15:00:00 pst",))]),
        (
            "unavailable_after: Sat, 25 Jun 2010 15:00 GMT, noai",
            [("*", ("unavailable_after: sat, 25 jun 2010 15:00 gmt", "noai"))],
        ),
        ("max-snippet:-1, max-image-preview:large", [("*", ("max-snippet:-1", "max-image-preview:large"))]),
        (" , ,", []),
        ("", []),
    ],
)
def test_robots_tags(value: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert list(robots_tag(value)) == expected


PAGE = b"""<!doctype html><html lang="en"><head><title>A page</title><base href="https://cdn.example/x/">
<meta name="Robots" content="noai,  NoImageAI"><meta name="MEADOWBOT" content="noindex"><meta name="googlebot" content="x">
<meta name="tdm-reservation" content=" 1 "><meta name="tdm-reservation" content="0">
<meta name="tdm-policy" content="https://provider.com/policies/policy.json">
<link rel="license" type="application/rsl+xml" href="license.xml">
</head><body><article><h1>A page</h1><p>Otters were seen at the mill pond again, and the miller said so to the paper.</p>
<p>They are said to be three, and to fish there in the early morning before anybody is about.</p></article>
<a rel="License nofollow" href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a><a rel=license href="mailto:x@y.example">m</a>
</body></html>"""


def test_what_the_markup_says_goes_from_the_page_to_the_lab() -> None:
    document = to_document(PAGE, url="https://site.example/final/")
    assert isinstance(document, Document)
    assert document.usage == UsageSignals(
        robots=(("robots", "noai, NoImageAI"), ("meadowbot", "noindex")),
        tdm_reservation="1",
        tdm_policy="https://provider.com/policies/policy.json",
        licenses=(
            LicenseLink("https://cdn.example/x/license.xml", "application/rsl+xml"),
            LicenseLink("https://creativecommons.org/licenses/by/4.0/"),
        ),
    )
    stored = msgspec.json.decode(msgspec.json.encode(document), type=Document)
    found = seen({"x-robots-tag": "googlebot: noindex", "content-usage": "train-ai=n"}, markup=stored.usage)
    assert found.robots_directives == (
        RobotsDirectives(source="header", agent="googlebot", directives=("noindex",)),
        RobotsDirectives(source="html", agent="*", directives=("noai", "noimageai")),
        RobotsDirectives(source="html", agent="meadowbot", directives=("noindex",)),
    )
    assert found.tdmrep == Tdmrep(reservation=1, policy="https://provider.com/policies/policy.json", source="html")
    assert list(signal_names(found)) == [
        "aipref train-ai=n",
        "tdmrep reservation=1",
        "rsl license",
        "license link",
        "robots noindex",
        "robots noai",
        "robots noimageai",
    ]


def test_a_page_without_signals_keeps_none() -> None:
    document = to_document(PAGE[PAGE.index(b"<article>") : PAGE.index(b"<a rel")], url=URL)
    assert isinstance(document, Document) and document.usage is None
