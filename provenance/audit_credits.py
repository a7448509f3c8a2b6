"""Auditing credits: what each record earned against the tariff, the epoch statements and the payouts on the chain."""

from dataclasses import dataclass, field

from protocol.record import Record
from provenance import epoch as epochs
from provenance.audit_chain import ChainReader, SeenPayout
from provenance.audit_report import StepResult, failed, not_checked, ok
from provenance.epoch import EpochStatement
from provenance.errors import FormatError
from provenance.log_info import LogInfo, decode_signatures, epoch_path, payouts_path
from provenance.tariff import TARIFF, reward
from provenance.tiles import TileReader

_NAMED = 3


@dataclass(slots=True)
class _Credited:
    epoch: int
    wallet: str
    amount: int


@dataclass(slots=True)
class _Epoch:
    statement: EpochStatement
    payout: SeenPayout


@dataclass(slots=True)
class CreditAudit:
    """Epoch statements and their payouts, indexed by log entry."""

    info: LogInfo
    _epochs: dict[int, _Epoch] = field(default_factory=dict)
    _credits: dict[int, list[_Credited]] = field(default_factory=dict)
    _problems: list[str] = field(default_factory=list)

    @classmethod
    async def read(cls, files: TileReader, info: LogInfo, chain: ChainReader) -> "CreditAudit":
        """Read every epoch of a log and look for its payouts."""
        audit = cls(info)
        number = 0
        while (data := await files.read(epoch_path(number))) is not None:
            try:
                await audit._add(number, data, await files.read(payouts_path(number)), chain)
            except FormatError as error:
                audit._problems.append(f"{epoch_path(number)}: {error}")
            number += 1
        return audit

    def check_all(self) -> StepResult:
        """Return the step `payouts`: every epoch was paid as stated, or is being paid."""
        problems = [*self._problems]
        unpaid: list[str] = []
        for number, each in self._epochs.items():
            problems += each.payout.problems
            if each.payout.found < each.payout.batches and not each.payout.problems:
                unpaid.append(f"epoch {number}: {each.payout.found} of {each.payout.batches} batches on the chain")
        if problems:
            rest = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
            return failed("payouts", "; ".join(problems[:_NAMED]) + rest)
        if not self._epochs:
            return not_checked("payouts", "the log lists no payout epoch yet")
        if unpaid:
            return not_checked("payouts", f"not fully paid yet: {'; '.join(unpaid[:_NAMED])}")
        total = sum(each.statement.total for each in self._epochs.values())
        return ok("payouts", f"paid exactly as stated: {total} base units, epochs 0 to {max(self._epochs)}")

    def check_row(self, index: int, record: Record) -> StepResult:
        """Return the step `credit` of a record: what it earned, to whom, and that this was paid."""
        step = "credit"
        if self.info.tariff != TARIFF:
            return not_checked(step, f"the log uses tariff {self.info.tariff!r}; this program knows {TARIFF!r}")
        try:
            due = reward(record.mode, record.wire_bytes, record.status)
        except FormatError as error:
            return failed(step, str(error))
        credits = self._credits.get(index, [])
        if not credits:
            if due == 0:
                return ok(step, f"status {record.status} earns nothing under tariff {TARIFF}")
            if self._problems:
                return failed(step, f"in no readable epoch; {self._problems[0]}")
            return not_checked(step, f"{due} base units due; in no payout epoch yet")
        if len(credits) > 1:
            return failed(step, f"credited twice, in epochs {', '.join(str(each.epoch) for each in credits)}")
        credit = credits[0]
        if credit.amount != due:
            return failed(step, f"credited {credit.amount} base units; tariff {TARIFF} says {due}")
        if credit.wallet != record.wallet:
            return failed(step, f"credited to {credit.wallet}; the record names {record.wallet}")
        each = self._epochs[credit.epoch]
        transaction = each.payout.paid.get(credit.wallet)
        if transaction is not None:
            return ok(step, f"{due} base units in epoch {credit.epoch}, transaction {transaction}")
        if each.payout.problems:
            return failed(step, f"epoch {credit.epoch} was not paid as stated: {each.payout.problems[0]}")
        return not_checked(step, f"{due} base units in epoch {credit.epoch}; the payout is not on the chain yet")

    async def _add(self, number: int, data: bytes, listed: bytes | None, chain: ChainReader) -> None:
        statement = epochs.decode(data)
        for name, got, expected in (
            ("epoch", statement.epoch, number),
            ("origin", statement.origin, self.info.origin),
            ("mint", statement.mint, self.info.mint),
            ("payer", statement.payer, self.info.payer_address),
            ("tariff", statement.tariff, self.info.tariff),
        ):
            if got != expected:
                raise FormatError(f"its {name} is {got!r}, not {expected!r}")
        signatures = () if listed is None else decode_signatures(listed, payouts_path(number))
        self._epochs[number] = _Epoch(statement, await chain.payout(data, signatures))
        for entry in statement.wallets:
            for index, amount in entry.credits:
                self._credits.setdefault(index, []).append(_Credited(number, entry.wallet, amount))
