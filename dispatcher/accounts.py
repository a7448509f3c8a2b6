"""What jobs cost their lab, before they are done: prepaid credits are reserved, at most for what may be fetched.

One credit is one completed page. Refusals, failures, cancellations and answers from the cache are free: what was
reserved for them goes back when the batch is settled (`settling`). Credits are reserved, and the limits of a key looked
at, in the transaction that stores the pages (`Terms`): what is not stored holds nothing.
"""

from typing import Final

from dispatcher.account_ledger import Account
from dispatcher.errors import ConcurrencyReached, DailyBudgetReached, PaymentRequired

CREDITS_PER_PAGE: Final = 1
BUDGET_REACHED: Final = "budget_reached"
"""The reason of pages that were refused because their batch's budget is used up."""
FIRST_STEP: Final = "submitted"
HOW_TO_PAY: Final = "the operator of this network adds credits with: meadow team credits add"
_RETRY_S: Final = 5
_DAY_MS: Final = 86_400_000


def payment_required(account: Account, needed: int) -> PaymentRequired:
    """The refusal of a request that the balance does not cover."""
    return PaymentRequired(
        f"the request may cost {needed} credits and the team has {account.balance} ({account.reserved} more are"
        f" reserved for jobs that have not ended); ask for fewer pages, or: {HOW_TO_PAY}",
        balance=account.balance,
        needed=needed,
    )


def daily_budget_reached(daily: int, taken: int, needed: int, *, now_ms: int) -> DailyBudgetReached:
    """The refusal of a request that may cost more than is left of a key's credits of the day."""
    return DailyBudgetReached(
        f"this key may use {daily} credits a day (UTC) and has used {taken}; the request may cost {needed}",
        retry_after_s=1 + (_DAY_MS - now_ms % _DAY_MS) // 1000,
    )


def concurrency_reached(most: int, taken: int) -> ConcurrencyReached:
    """The refusal of a request for which a key has no room."""
    return ConcurrencyReached(
        f"this key may have {most} pages in progress, and {taken} are, or come next of jobs that wait their turn;"
        f" ask again when some have ended",
        retry_after_s=_RETRY_S,
    )
