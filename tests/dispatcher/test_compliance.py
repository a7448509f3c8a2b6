"""robots.txt, as RFC 9309 has it, as sites write it, and as an attacker writes it."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.compliance import (
    MAX_CRAWL_DELAY_MS,
    MAX_ROBOTS_BYTES,
    Decision,
    RobotsRules,
    RobotsState,
    state_of_status,
)

ORIGIN = "https://site.example"


def rules(text: str | bytes) -> RobotsRules:
    return RobotsRules(RobotsState.FOUND, text.encode() if isinstance(text, str) else text)


def allowed(text: str | bytes, path: str) -> bool:
    return rules(text).judge(ORIGIN + path).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow:\n", "/a", True),
        ("User-agent: *\nDisallow: /\n", "/a", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b\n", "/a/b/c", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b\n", "/a/c", False),
        ("User-agent: *\nAllow: /a\nDisallow: /a\n", "/a", True),
        ("User-agent: *\nDisallow: /*.pdf$\n", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$\n", "/x/y.pdf?z", True),
        ("User-agent: *\nDisallow: /p?q=\n", "/p?q=1", False),
        ("User-agent: *\nDisallow: /%7Ejoe/\n", "/~joe/x", False),
        ("User-agent: *\nDisallow: /ä\n", "/%C3%A4/x", False),
        ("user-AGENT: MEADOWBOT\nDISALLOW: /x\n", "/x", False),
        ("User-agent: OtherBot\nDisallow: /\n", "/x", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: MeadowBot\nAllow: /\n", "/x", True),
        ("User-agent: MeadowBot\nAllow: /\n\nUser-agent: *\nDisallow: /\n", "/x", True),
        ("User-agent: MeadowBot\nDisallow: /x\n\nUser-agent: a\nDisallow: /\n\nUser-agent: meadowbot\nDisallow: /y\n", "/y", False),
        ("User-agent: a\nUser-agent: MeadowBot\nUser-agent: b\nDisallow: /x\n", "/x", False),
        ("User-agent: MeadowBot # ours\nDisallow: /x # theirs\n", "/x", False),
        ("Disallow: /\nUser-agent: OtherBot\nDisallow: /\n", "/x", True),
        ("User-agent: *\rDisallow: /x\r", "/x", False),
        ("User-agent: *\r\nDisallow: /x\r\n", "/x", False),
        ("Sitemap: https://site.example/s.xml\nUser-agent: *\nDisallow: /x\n", "/x", False),
        ("User-agent: MeadowBot/1.0\nDisallow: /x\n", "/x", False),
        ("Useragent: *\nDisallow: /x\n", "/x", False),
        ("User-agent: *\nDissallow: /x\n", "/x", False),
        ("<!doctype html><title>Not found</title>", "/x", True),
    ],
)  # fmt: skip
def test_a_file_says_what_rfc_9309_says(text: str, path: str, expected: bool) -> None:
    assert allowed(text, path) is expected


def test_one_no_of_two_parsers_is_enough() -> None:
    only_one_knows_the_misspelling = "User-agent: *\nDisalow: /x\n"
    assert not allowed(only_one_knows_the_misspelling, "/x")
    only_the_other_cuts_the_version_off = "User-agent: *\nAllow: /\n\nUser-agent: MeadowBot/0.1\nDisallow: /x\n"
    assert not allowed(only_the_other_cuts_the_version_off, "/x")


def test_a_byte_order_mark_and_other_encodings_do_not_hide_a_rule() -> None:
    assert not allowed(b"\xef\xbb\xbfUser-agent: *\nDisallow: /x\n", "/x")
    assert not allowed("User-agent: *\nDisallow: /x\n# caf\xe9".encode("latin-1"), "/x")
    rules(bytes(range(256)) * 10).judge(ORIGIN + "/x")
    rules("User-agent: *\nDisallow: /x\n".encode("utf-16")).judge(ORIGIN + "/x")


def test_what_lies_beyond_the_limit_is_not_read() -> None:
    comment = "# " + "x" * (MAX_ROBOTS_BYTES - 40) + "\n"
    assert not allowed("User-agent: *\nDisallow: /x\n" + comment, "/x")
    assert not allowed(comment + "User-agent: *\nDisallow: /\n", "/x")
    assert allowed(comment * 2 + "User-agent: *\nDisallow: /\n", "/x")


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("2", 2_000),
        ("0.25", 250),
        ("0", 0),
        ("3600", MAX_CRAWL_DELAY_MS),
        ("1e308", MAX_CRAWL_DELAY_MS),
        ("9" * 400, None),
        ("nan", None),
        ("inf", None),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_crawl_delay_is_a_finite_bounded_time(value: str, expected_ms: int | None) -> None:
    assert rules(f"User-agent: *\nCrawl-delay: {value}\nDisallow: /x\n").crawl_delay_ms == expected_ms


def test_our_own_crawl_delay_goes_before_everyones() -> None:
    text = "User-agent: *\nCrawl-delay: 9\n\nUser-agent: MeadowBot\nCrawl-delay: 1\n"
    assert rules(text).crawl_delay_ms == 1_000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, RobotsState.FOUND),
        (204, RobotsState.FOUND),
        (301, RobotsState.UNREACHABLE),
        (401, RobotsState.ABSENT),
        (403, RobotsState.ABSENT),
        (404, RobotsState.ABSENT),
        (410, RobotsState.ABSENT),
        (429, RobotsState.BUSY),
        (500, RobotsState.UNREACHABLE),
        (503, RobotsState.UNREACHABLE),
        (999, RobotsState.UNREACHABLE),
    ],
)
def test_a_status_means_what_rfc_9309_says(status: int, expected: RobotsState) -> None:
    assert state_of_status(status) is expected


def test_without_a_file_the_state_decides() -> None:
    assert RobotsRules(RobotsState.ABSENT).judge(ORIGIN + "/x").decision is Decision.ALLOW
    unreachable = RobotsRules(RobotsState.UNREACHABLE).judge(ORIGIN + "/x")
    assert (unreachable.decision, unreachable.code) == (Decision.DENY, "robots_unreachable")
    busy = RobotsRules(RobotsState.BUSY, retry_after_ms=5).judge(ORIGIN + "/x")
    assert (busy.decision, busy.code) == (Decision.LATER, "robots_busy")


def _many_agents_many_groups() -> str:
    agents = "".join(f"User-agent: a{letter}\n" for letter in "bcdefghij")
    return (agents + "Disallow: /x\n") * 2_000


def _agents_times_rules() -> str:
    return "".join(f"User-agent: a{n}\n" for n in range(14_000)) + "Disallow: /a\n" * 14_000


def _hidden_agents() -> str:
    return "\n".join(f"User \t agent a{n}" for n in range(14_000)) + "\n" + "Disallow: /a\n" * 14_000


BOMBS: dict[str, Callable[[], str]] = {
    "groups of many agents": _many_agents_many_groups,
    "agents times rules": _agents_times_rules,
    "agents in another spelling": _hidden_agents,
    "agents behind a vertical tab": lambda: "x\x0b" + "\x0b".join(f"User-agent: a{n}" for n in range(20_000)),
    "every prefix of our name": lambda: (
        "".join(f"User-agent: {'meadowbot'[:n]}\n" for n in range(1, 10)) + "Disallow: /a\n" * 30_000
    ),
    "the same group again": lambda: "User-agent: *\nDisallow: /a\n" * 18_000,
    "a pattern of wildcards": lambda: "User-agent: *\nDisallow: /" + "*a" * 240_000,
    "many patterns": lambda: "User-agent: *\n" + "".join(f"Disallow: /*{n}*\n" for n in range(25_000)),
    "spaces": lambda: "Disallow:" + " " * 50_000 + "a b\nUser-agent: a" + " " * 50_000 + "]\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_file_costs_more_than_a_moment(bomb: str) -> None:
    text = BOMBS[bomb]()
    assert len(text) < MAX_ROBOTS_BYTES
    began = time.process_time()
    judged = rules(text)
    for _ in range(3):
        judged.judge(ORIGIN + "/" + "a" * 2_000)
    assert time.process_time() - began < 2.0


def test_a_file_with_too_many_rules_for_us_is_a_no() -> None:
    text = "User-agent: *\n" + "".join(f"Disallow: /{n}\n" for n in range(25_000))
    verdict = rules(text).judge(ORIGIN + "/a")
    assert (verdict.decision, verdict.code) == (Decision.DENY, "robots_too_long")
    assert rules(text).size_bytes == 0
    assert allowed(text.replace("*", "OtherBot"), "/a")


_LINES = st.lists(
    st.one_of(
        st.sampled_from(["User-agent: *", "User-agent: MeadowBot", "User-agent: x", "Disallow: /", "Allow: /a*$", "["]),
        st.builds(lambda path: f"Disallow: {path}", st.text(max_size=30)),
        st.builds(lambda path: f"Allow: /{path}", st.text(alphabet="ab*$?[]!%-\\{}().^+|", max_size=20)),
        st.text(max_size=40),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(lines=_LINES, path=st.text(alphabet="ab/*$?[]%-&=.~", max_size=30))
def test_no_file_raises(lines: list[str], path: str) -> None:
    judged = rules("\n".join(lines).encode("utf-8", "surrogatepass"))
    judged.judge(f"{ORIGIN}/{path}")


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300))
def test_no_bytes_raise(body: bytes) -> None:
    rules(body).judge(ORIGIN + "/a")
