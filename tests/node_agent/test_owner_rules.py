import os

import pytest

from node_agent.journal import Outcome
from node_agent.owner_rules import (
    Denial,
    Hours,
    Moment,
    OwnerRules,
    Pace,
    UsageToday,
    available_jobs,
    check_host,
    check_moment,
    normalise_domain,
)
from protocol.messages import Availability, RefusalCode
from tests.node_agent.conftest import RunningNode, Site
from tests.node_agent.played_dispatcher import Dispatcher

NOON = Moment(now_ms=1_000, minute=12 * 60, day_start_ms=0)


async def test_pause_and_resume_take_hold_and_are_announced(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    node.rules.set_limits(paused=True)
    assert (await dispatcher.refusal(site.url("/"))).reason is RefusalCode.PAUSED
    paused = Availability(max_concurrent_jobs=0, reason="paused")
    await dispatcher.until(lambda: dispatcher.last_availability() == paused)
    node.rules.set_limits(paused=False)
    resumed = Availability(max_concurrent_jobs=4)
    await dispatcher.until(lambda: dispatcher.last_availability() == resumed)
    assert (await dispatcher.result(site.url("/"))).record.status == 200


async def test_blocked_domain_is_refused_with_its_subdomains(dispatcher: Dispatcher, node: RunningNode) -> None:
    node.rules.block("example.com")
    for url in ("http://example.com/", "https://a.b.EXAMPLE.com/", "http://example.com:80/?x"):
        assert (await dispatcher.refusal(url)).reason is RefusalCode.BLOCKED_BY_OWNER


async def test_purpose_that_is_not_allowed_is_refused(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    node.rules.set_limits(purposes=["archive"])
    assert (await dispatcher.refusal(site.url("/"))).reason is RefusalCode.PURPOSE_NOT_ALLOWED
    assert (await dispatcher.result(site.url("/"), purpose="archive")).record.purpose == "archive"


async def test_jobs_a_day_are_capped_also_after_a_refusal(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    node.rules.set_limits(daily_jobs=2)
    for _ in range(2):
        await dispatcher.result(site.url("/"))
    assert (await dispatcher.refusal(site.url("/"))).reason is RefusalCode.CAP_REACHED
    assert (await dispatcher.until(dispatcher.last_availability)).reason == "cap_reached"
    assert len(site.requests) == 2


async def test_bytes_a_day_end_a_fetch_on_the_way(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    site.page("/large", os.urandom(1_000_000))
    node.rules.set_limits(daily_bytes=100_000)
    refusal = await dispatcher.refusal(site.url("/large"))
    assert refusal.reason is RefusalCode.CAP_REACHED
    (entry,) = node.journal.newest(1)
    assert entry.outcome is Outcome.REFUSED
    assert 100_000 < entry.wire_bytes < 400_000
    assert (await dispatcher.refusal(site.url("/"))).reason is RefusalCode.CAP_REACHED
    assert len(site.requests) == 1


async def test_rate_spaces_fetches_and_refuses_what_would_wait_long(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    node.rules.set_limits(per_second=2)
    jobs = [await dispatcher.give(site.url("/")) for _ in range(4)]
    answers = [await dispatcher.answer(job) for job in jobs]
    assert [getattr(answer, "reason", None) for answer in answers] == [None, None, None, RefusalCode.BUSY]
    starts = sorted(entry.started_ms for entry in node.journal.newest(None) if entry.outcome is not Outcome.REFUSED)
    assert len(starts) == 3


def test_hours_pass_midnight() -> None:
    night = Hours.parse("22:00-7")
    assert [night.covers(hour * 60) for hour in (21, 22, 0, 6, 7)] == [False, True, True, True, False]
    assert str(night) == "22:00-07:00"
    assert Hours.parse("0-24").covers(1_439)
    rules = OwnerRules(hours=(night, Hours.parse("12:30-13")))
    denial = check_moment(rules, NOON, UsageToday())
    assert denial is not None
    assert denial.code is RefusalCode.OUTSIDE_SCHEDULE
    assert available_jobs(rules, NOON, UsageToday()) == (0, "outside_schedule")
    assert check_moment(rules, Moment(0, 12 * 60 + 45, 0), UsageToday()) is None


@pytest.mark.parametrize("text", ["", "7", "7-", "25-3", "7:60-8", "a-b", "-1-5", "7-8-9", "24:30-1"])
def test_wrong_hours_say_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="22:00-07:00"):
        Hours.parse(text)


@pytest.mark.parametrize(
    ("given", "domain"),
    [("Example.COM", "example.com"), ("*.bücher.example", "xn--bcher-kva.example"), (".example.org.", "example.org")],
)
def test_domains_are_normalised_as_in_urls(given: str, domain: str) -> None:
    assert normalise_domain(given) == domain
    rules = OwnerRules(blocked_domains=frozenset({domain}))
    assert isinstance(check_host(rules, f"www.{domain}"), Denial)
    assert check_host(rules, f"not{domain}") is None


@pytest.mark.parametrize("given", ["", "http://example.com", "example.com/x", "a b", "example.com:80", "u@example.com"])
def test_what_is_no_domain_is_told(given: str) -> None:
    with pytest.raises(ValueError, match=r"example\.org"):
        normalise_domain(given)


def test_caps_of_zero_allow_nothing() -> None:
    for rules in (OwnerRules(daily_jobs=0), OwnerRules(daily_bytes=0)):
        denial = check_moment(rules, NOON, UsageToday())
        assert denial is not None
        assert denial.code is RefusalCode.CAP_REACHED


def test_pace_is_even() -> None:
    pace = Pace()
    waits = [pace.reserve(4, 1_000, longest_wait_ms=600) for _ in range(4)]
    assert waits == [0, 250, 500, None]
    assert pace.reserve(4, 1_500, longest_wait_ms=600) == 250
    assert pace.reserve(None, 0, longest_wait_ms=0) == 0
