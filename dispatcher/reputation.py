"""From a node's counted conduct to its reputation, 0 to 1,000: the published formula, in integers, without IO.

Every part is worth 0 to 1,000, rounded down, and the score is made of the parts as they are shown, so that an owner
computes it again from what the node is told:

    answers   stored / (stored + rejected)
    leases    (stored + fruitless) / (stored + fruitless + expired)
    failures  stored / (stored + failed alone)
    credits   (credits - void) / credits
    time      800 on the day a node is first seen, evenly up to 1,000 after 30 days
    new       while under 20 pages say something about a node: pages / 20

    earned = 1,000 x the product of answers, leases, failures, credits and time, each / 1,000
    score  = earned, or while a node is new (500 x (1,000 - new) + earned x new) / 1,000

A part of which nothing was counted yet is left out. A product, so that nothing makes up for a fault elsewhere.
"""

from typing import Literal, get_args

from dispatcher.conduct import NodeConduct
from protocol import limits
from protocol.messages import Reputation, ReputationPart

PartName = Literal["answers", "leases", "failures", "credits", "time", "new"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)
MOST = limits.REPUTATION_MOST
MIDDLE = MOST // 2
"""Where a new node starts."""
LOW = 200
"""A node below this gets a job only when no other suits."""
NEW_PAGES = 20
FULL_DAYS = 30
_FIRST_DAY = 800
_DAY_MS = 86_400_000


def reputation_of(conduct: NodeConduct, *, now_ms: int) -> Reputation:
    """Return the reputation that a node's conduct comes to, its parts in the order of `PART_NAMES`."""
    days = 0 if conduct.first_seen_ms is None else max(0, now_ms - conduct.first_seen_ms) // _DAY_MS
    parts = [*_shares(conduct), _part("time", _time_value(days), _time_reason(days))]
    earned = MOST
    for part in parts:
        earned = earned * part.value // MOST
    pages = conduct.stored + conduct.rejected + conduct.failed_alone + conduct.expired
    if pages >= NEW_PAGES:
        return Reputation(score=earned, parts=tuple(parts), time_ms=now_ms)
    new = _part("new", MOST * pages // NEW_PAGES, f"new: {pages} of the first {NEW_PAGES} pages")
    score = (MIDDLE * (MOST - new.value) + earned * new.value) // MOST
    return Reputation(score=score, parts=(*parts, new), time_ms=now_ms)


def _shares(conduct: NodeConduct) -> list[ReputationPart]:
    """The parts that are shares of a whole; a whole of nothing is no part."""
    checked = conduct.stored + conduct.rejected
    answered = conduct.stored + conduct.fruitless
    leased = answered + conduct.expired
    fetchable = conduct.stored + conduct.failed_alone
    parts = []
    if checked:
        reason = f"{_of(conduct.stored, checked, 'answer')} accepted"
        parts.append(_part("answers", MOST * conduct.stored // checked, reason))
    if leased:
        reason = f"{_of(answered, leased, 'job')} answered in time"
        parts.append(_part("leases", MOST * answered // leased, reason))
    if fetchable:
        reason = f"{_of(conduct.failed_alone, fetchable, 'page')} fetched by another node after failing here"
        parts.append(_part("failures", MOST * conduct.stored // fetchable, reason))
    if conduct.credits:
        reason = f"{_of(conduct.void, conduct.credits, 'credit')} void"
        parts.append(_part("credits", MOST * (conduct.credits - conduct.void) // conduct.credits, reason))
    return parts


def _part(name: PartName, value: int, reason: str) -> ReputationPart:
    return ReputationPart(name=name, value=value, reason=reason)


def _of(some: int, whole: int, noun: str) -> str:
    return f"{some:,} of {whole:,} {noun if whole == 1 else f'{noun}s'} {'was' if some == 1 else 'were'}"


def _time_value(days: int) -> int:
    return _FIRST_DAY + (MOST - _FIRST_DAY) * min(days, FULL_DAYS) // FULL_DAYS


def _time_reason(days: int) -> str:
    seen = "today" if days == 0 else "1 day ago" if days == 1 else f"{days:,} days ago"
    return f"first seen {seen}" + (f"; counts in full after {FULL_DAYS} days" if days < FULL_DAYS else "")
