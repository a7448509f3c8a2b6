"""What jobs cost their lab, before they are done: prepaid credits are reserved, at most for what may be fetched.

One credit is one completed page. Refusals, failures, cancellations and answers from the cache are free: what was
reserved for them goes back when the batch is settled (`settling`).
"""

from collections.abc import Callable
from typing import Final, Protocol

from dispatcher.account_ledger import Account, PrepaidLedger
from dispatcher.errors import PaymentRequired

CREDITS_PER_PAGE: Final = 1
BUDGET_REACHED: Final = "budget_reached"
"""The reason of pages that were refused because their batch's budget is used up."""
FIRST_STEP: Final = "submitted"
HOW_TO_PAY: Final = "the operator of this network adds credits with: meadow team credits add"
ORPHANED_AFTER_MS: Final = 2 * 3_600_000
"""What is reserved for longer, for a batch that is not in the ledger, was reserved by a process that ended."""


class Accounts(Protocol):
    """The port: reserving credits for pages. A team without an account has no limit."""

    async def reserve(self, team_id: str, batch_id: str, pages: int, *, step: str = FIRST_STEP) -> bool:
        """Reserve for pages of a batch, all of them; PaymentRequired where the balance does not cover them, False where
        nothing had to be reserved.

        Call it before they are stored. Where they are not stored after all, call `withdraw`, or `withdraw_step` for
        pages that were to be added.
        """
        ...

    async def reserve_more(self, team_id: str, batch_id: str, pages: int, *, step: str) -> int:
        """Reserve for up to `pages` more pages of a batch that goes on; for how many there is credit, 0 for none.

        `step` names this extension among the batch's: made again with the same name it changes nothing and says what
        it said before."""
        ...

    async def withdraw(self, batch_id: str) -> None:
        """Give everything back that is reserved for a batch that was not stored; nothing where it was."""
        ...

    async def withdraw_step(self, batch_id: str, step: str) -> None:
        """Give back what one step reserved for pages that were not added."""
        ...


class PrepaidAccounts(Accounts):
    """Reserves in the ledger, where no two requests can spend the same credit."""

    def __init__(self, *, ledger: PrepaidLedger, clock: Callable[[], int]) -> None:
        self._ledger, self._clock = ledger, clock

    async def reserve(self, team_id: str, batch_id: str, pages: int, *, step: str = FIRST_STEP) -> bool:
        """See Accounts."""
        needed = pages * CREDITS_PER_PAGE
        granted, account = await self._reserve(team_id, batch_id, step, most=needed, least=needed)
        if account is not None and granted < needed:
            raise payment_required(account, needed)
        return account is not None

    async def reserve_more(self, team_id: str, batch_id: str, pages: int, *, step: str) -> int:
        """See Accounts."""
        needed = pages * CREDITS_PER_PAGE
        granted, account = await self._reserve(team_id, batch_id, step, most=needed, least=CREDITS_PER_PAGE)
        return pages if account is None else granted // CREDITS_PER_PAGE

    async def withdraw(self, batch_id: str) -> None:
        """See Accounts."""
        await self._ledger.withdraw(batch_id, now_ms=self._clock())

    async def withdraw_step(self, batch_id: str, step: str) -> None:
        """See Accounts."""
        await self._ledger.withdraw_step(batch_id, step, now_ms=self._clock())

    async def _reserve(
        self, team_id: str, batch_id: str, step: str, *, most: int, least: int
    ) -> tuple[int, Account | None]:
        account = await self._ledger.account(team_id)
        if account is None or most == 0:
            return most, None
        reservation = await self._ledger.reserve(
            team_id, batch_id, step=step, most=most, least=least, now_ms=self._clock()
        )
        return reservation.granted, reservation.account


def payment_required(account: Account, needed: int) -> PaymentRequired:
    """The refusal of a request that the balance does not cover."""
    return PaymentRequired(
        f"the request may cost {needed} credits and the team has {account.balance} ({account.reserved} more are"
        f" reserved for jobs that have not ended); ask for fewer pages, or: {HOW_TO_PAY}",
        balance=account.balance,
        needed=needed,
    )
