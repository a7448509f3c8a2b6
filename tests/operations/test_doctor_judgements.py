"""What the doctor makes of facts: pure judgements, level by level."""

import pytest

from dispatcher.adapters.probe_ledger import Leader, judge_leaders
from dispatcher.adapters.redis_checks import unfit
from dispatcher.doctor import (
    Level,
    examination,
    fail,
    judge_disk,
    judge_facts,
    judge_files,
    judge_invariants,
    judge_memory,
    judge_persistence,
    judge_python,
    judge_skew,
    ok,
    split_advice,
    warn,
)

GIB = 1024**3


@pytest.mark.parametrize(
    ("version", "platform", "level"),
    [((3, 11, 2), "linux", Level.OK), ((3, 10, 9), "linux", Level.FAIL), ((3, 12, 0), "win32", Level.WARN)],
)
def test_python(version: tuple[int, int, int], platform: str, level: Level) -> None:
    assert judge_python(version, "CPython", platform).level is level


@pytest.mark.parametrize(
    ("skew_ms", "error_ms", "level"),
    [
        (0, 1, Level.OK),
        (-900, 1, Level.OK),
        (1_500, 1, Level.WARN),
        (-1_500, 1, Level.WARN),
        (1_500, 800, Level.OK),
        (-30_000, 5, Level.FAIL),
    ],
)
def test_a_clock_is_judged_by_what_is_certain_of_its_skew(skew_ms: int, error_ms: int, level: Level) -> None:
    assert judge_skew("clock", "the database", skew_ms, error_ms).level is level


def test_open_files_suffice_for_the_nodes_or_the_fix_says_how_many() -> None:
    assert judge_files(10_512, 10_512, 10_000).level is Level.OK
    soft = judge_files(1_024, 65_536, 10_000)
    assert (soft.level, "ulimit -n 10512" in soft.fix) == (Level.FAIL, True)
    assert "hard limit" in judge_files(1_024, 4_096, 10_000).fix


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (50 * GIB, 100 * GIB, Level.OK),
        (5 * GIB, 100 * GIB, Level.WARN),
        (GIB // 2, 100 * GIB, Level.FAIL),
        (GIB // 4, GIB, Level.OK),
        (GIB // 40, GIB, Level.FAIL),
    ],
)
def test_disk(free: int, total: int, level: Level) -> None:
    assert judge_disk("/data", free, total).level is level


def test_a_broken_invariant_fails_and_names_it() -> None:
    assert judge_invariants([]).level is Level.OK
    assert "log indexes" in judge_invariants(["log indexes are gapless: 1 broken"]).says


def test_facts_that_differ_are_named_and_their_values_are_not() -> None:
    check = judge_facts({"root_key": "theirs", "chain": "x"}, {"root_key": "ours", "log_key": "k"})
    assert check.level is Level.FAIL
    assert "root_key" in check.says
    assert "ours" not in check.says
    assert judge_facts({}, {"root_key": "ours"}).level is Level.OK


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, Level.OK),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, Level.FAIL),
        ({"aof_enabled": 0}, Level.WARN),
    ],
)
def test_persistence(info: dict[str, str | int | float], level: Level) -> None:
    assert judge_persistence(info).level is level


@pytest.mark.parametrize(
    ("used", "limit", "level"), [(10, 0, Level.OK), (10, 100, Level.OK), (90, 100, Level.WARN), (100, 100, Level.FAIL)]
)
def test_memory(used: int, limit: int, level: Level) -> None:
    assert judge_memory({"used_memory": used, "maxmemory": limit}).level is level


def test_a_server_that_is_too_old_is_named_with_what_to_do() -> None:
    reason = unfit({"redis_version": "5.0.14", "role": "master"})
    assert reason is not None
    assert "5.0.14" in reason
    assert "upgrade" in reason


def test_duties_that_nobody_leads_are_a_warning_while_others_are_led() -> None:
    led = Leader("log", "one/1", 2_000)
    assert judge_leaders([led, Leader("reaper", "two/2", 500)], 1_000).level is Level.WARN
    assert judge_leaders([led, Leader("preparation", "one/1", 500)], 1_000).level is Level.OK
    assert judge_leaders([Leader("log", "one/1", 500)], 1_000).level is Level.OK


def test_one_failure_makes_the_examination_unhealthy_and_warnings_do_not() -> None:
    assert examination([ok("a", "x"), warn("b", "y")]).healthy
    assert not examination([ok("a", "x"), fail("b", "y")]).healthy


def test_what_to_do_stands_behind_the_last_semicolon() -> None:
    assert split_advice("it is off; and red; turn it on") == ("it is off; and red", "turn it on")
    assert split_advice("it is off") == ("it is off", "")
