"""How long the ledger keeps what neither proves nor accounts for anything, and what of it stays however old it is.

What proves or accounts (jobs, results, credits, entries of the log, entries of accounts, usage, the audit log) has no
age here: it stays for ever. `dispatcher.pruning` keeps to this; `docs/storage.md` tells operators.
"""

from typing import Final

import msgspec

_DAY_MS: Final = 24 * 3_600_000


class KeptFor(msgspec.Struct, frozen=True, kw_only=True):
    """Ages in milliseconds, and numbers that are kept beyond them.

    `crawl_ms` counts from a crawl's end: which URLs it had seen, and those that were still waiting. `delivery_ms`
    counts from the last change of a webhook's event that is delivered or has failed. `run_ms` counts from a schedule's
    slot; its newest `runs` stay. `version_ms` counts from the fetch; the newest `versions` of a page that can answer
    stay.
    """

    crawl_ms: int = 7 * _DAY_MS
    delivery_ms: int = 30 * _DAY_MS
    run_ms: int = 90 * _DAY_MS
    runs: int = 20
    version_ms: int = 90 * _DAY_MS
    versions: int = 3


KEPT: Final = KeptFor()
REST_MS: Final = _DAY_MS
"""How long the ledger is left alone once all of it was looked through."""
