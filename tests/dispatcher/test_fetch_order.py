"""Ids of a request's jobs have the order in which its pages are likely to be fetched."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.adapters.system_clock import new_id
from dispatcher.fetch_order import ids_in_fetch_order


def test_hosts_take_turns() -> None:
    hosts = ["a", "a", "a", "b", "c", "c"]
    ids = ids_in_fetch_order(hosts, new_id)
    assert [hosts[position] for position in sorted(range(6), key=ids.__getitem__)] == ["a", "b", "c", "a", "c", "a"]


@given(st.lists(st.sampled_from("abcde")))
def test_a_host_keeps_the_order_of_its_pages_and_none_is_a_page_ahead(hosts: list[str]) -> None:
    ids = ids_in_fetch_order(hosts, new_id)
    assert len(set(ids)) == len(hosts)
    total, seen = Counter(hosts), Counter[str]()
    last: dict[str, int] = {}
    for position in sorted(range(len(hosts)), key=ids.__getitem__):
        host = hosts[position]
        assert position > last.get(host, -1)
        last[host] = position
        seen[host] += 1
        assert all(seen[other] >= min(seen[host] - 1, total[other]) for other in total)
