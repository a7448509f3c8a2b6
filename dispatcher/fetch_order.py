"""The order in which the pages of one request are likely to be fetched.

The frontier lets hosts take turns, so of a list with twenty pages of each host it lets out the first page of every
host, then the second. The ledger keeps jobs in the order of their ids: ids in this order put rows that change together
side by side, and a transaction touches a few pages of the database instead of one for each job.
"""

from collections import Counter
from collections.abc import Callable, Sequence


def ids_in_fetch_order(hosts: Sequence[str], new_id: Callable[[], str]) -> list[str]:
    """Make an id for each page, given the hosts of the pages; sorted, the ids have the order of fetching."""
    before: Counter[str] = Counter()
    turns = []
    for host in hosts:
        turns.append(before[host])
        before[host] += 1
    ids = sorted(new_id() for _ in hosts)
    own = [""] * len(hosts)
    for position, job_id in zip(sorted(range(len(hosts)), key=turns.__getitem__), ids, strict=True):
        own[position] = job_id
    return own
