"""The frontier is asked about a pool when something can be due there, and pools take turns."""

from dispatcher.waiting_pools import LOOK_AGAIN_MS, WaitingPools


def test_pools_that_can_be_served_and_have_jobs_take_turns() -> None:
    pools = WaitingPools()
    assert pools.due(["a", "b"], now_ms=0) == []
    pools.found(["a", "b", "c"])
    begun = [pools.due(["a", "b", "x"], now_ms=0) for _ in range(4)]
    assert {tuple(turn) for turn in begun} == {("a", "b"), ("b", "a")}
    pools.found(["b"])
    assert pools.due(["a", "b"], now_ms=0) == ["b"]


def test_a_pool_is_left_alone_until_its_next_moment() -> None:
    pools = WaitingPools()
    pools.found(["a", "b"])
    for pool in ("a", "b"):
        pools.none_due(pool, now_ms=1_000)
    assert (pools.due(["a", "b"], now_ms=1_000), pools.unknown(["a", "b", "x"])) == ([], ["a", "b"])
    pools.due_at("a", 1_200, now_ms=1_001)
    pools.due_at("b", None, now_ms=1_001)
    assert pools.unknown(["a", "b"]) == []
    assert pools.next_look_ms(["a", "b"]) == 1_200
    assert pools.next_look_ms(["x"]) is None
    assert pools.due(["a", "b"], now_ms=1_199) == []
    assert pools.due(["a", "b"], now_ms=1_200) == ["a"]
    assert pools.due(["b"], now_ms=1_001 + LOOK_AGAIN_MS) == ["b"]


def test_a_moment_far_off_is_not_believed_for_long() -> None:
    pools = WaitingPools()
    pools.found(["a"])
    pools.none_due("a", now_ms=0)
    pools.due_at("a", 10**9, now_ms=0)
    assert pools.due(["a"], now_ms=LOOK_AGAIN_MS) == ["a"]


def test_a_hint_looks_at_once_also_into_a_pool_that_was_not_known() -> None:
    pools = WaitingPools()
    pools.found(["a"])
    pools.none_due("a", now_ms=0)
    pools.look_now("unheard of")
    assert pools.due(["a", "unheard of"], now_ms=1) == []
    pools.added(["new"])
    pools.found(["a"])
    assert pools.due(["a", "new"], now_ms=1) == ["new"]
    pools.look_now("a")
    assert sorted(pools.due(["a", "new"], now_ms=1)) == ["a", "new"]
    pools.none_due("new", now_ms=1)
    pools.found(["a"])
    assert pools.next_look_ms(["new"]) is None
