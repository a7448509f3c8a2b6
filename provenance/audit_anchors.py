"""Auditing anchors: every memo of the log's authority against the tree of its size."""

from collections.abc import Sequence

from provenance.anchor import Anchor
from provenance.audit_chain import SeenAnchor
from provenance.audit_log import LogView
from provenance.audit_report import StepResult, failed, not_checked, ok
from provenance.errors import VerificationError

ANCHORS_CHECKED = 5_000
"""How many anchors, newest first, are compared with the log; the anchor of each audited row always is."""
_NAMED = 3


class AnchorAudit:
    """The anchors of a log's authority, each compared with the tree of its size."""

    def __init__(self, seen: Sequence[SeenAnchor], view: LogView) -> None:
        self._seen = seen
        self._view = view
        self._by_size: dict[int, SeenAnchor] = {}
        self._checked: dict[str, str] = {}
        for each in reversed(seen):
            if each.anchor is not None and each.anchor.origin == view.info.origin:
                self._by_size.setdefault(each.anchor.size, each)

    @property
    def sizes(self) -> list[int]:
        """The sizes that are anchored, in ascending order."""
        return sorted(self._by_size)

    def covering(self, index: int) -> Anchor | None:
        """Return the anchor with the smallest size that covers an entry."""
        size = min((size for size in self._by_size if index < size <= self._view.newest.size), default=None)
        return None if size is None else self._by_size[size].anchor

    async def check_all(self) -> StepResult:
        """Return the step `anchor` of the log as a whole: every memo parses, is in sequence and matches the log."""
        problems = [
            f"transaction {each.signature}: {each.fault}" for each in self._seen if each.fault and not each.harmless
        ]
        sequence: dict[int, str] = {}
        sound = [each for each in self._seen if each.anchor is not None]
        for each in sound:
            anchor = each.anchor
            if anchor is None:
                continue
            if anchor.origin != self._view.info.origin:
                problems.append(f"transaction {each.signature} anchors another log, {anchor.origin!r}")
            if anchor.sequence in sequence:
                problems.append(
                    f"sequence {anchor.sequence} stands in {each.signature} and {sequence[anchor.sequence]}"
                )
            sequence[anchor.sequence] = each.signature
        for each in sound[:ANCHORS_CHECKED]:
            problem = await self._problem(each)
            if problem:
                problems.append(problem)
        missing = sorted(set(range(max(sequence, default=-1) + 1)) - set(sequence))
        if missing:
            problems.append(f"anchors are missing in the sequence: {', '.join(map(str, missing[:_NAMED]))}")
        if problems:
            rest = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
            return failed("anchor", "; ".join(problems[:_NAMED]) + rest)
        if not sound:
            return not_checked("anchor", f"{self._view.info.anchor_address} has anchored nothing on this chain yet")
        note = f"; only the newest {ANCHORS_CHECKED} were compared" if len(sound) > ANCHORS_CHECKED else ""
        return ok("anchor", f"{len(sound)} memos, up to size {self.sizes[-1]}, match the log{note}")

    async def check_row(self, index: int) -> StepResult:
        """Return the step `anchor` of an entry."""
        anchor = self.covering(index)
        if anchor is None:
            faulty = sum(1 for each in self._seen if each.fault and not each.harmless)
            if faulty:
                return failed("anchor", f"no sound anchor covers entry {index}, and {faulty} anchors do not hold")
            return not_checked("anchor", f"entry {index} is not anchored yet")
        each = self._by_size[anchor.size]
        problem = await self._problem(each)
        return failed("anchor", problem) if problem else ok("anchor", f"size {anchor.size} in {each.signature}")

    async def _problem(self, each: SeenAnchor) -> str:
        if each.signature not in self._checked:
            self._checked[each.signature] = await self._compare(each)
        return self._checked[each.signature]

    async def _compare(self, each: SeenAnchor) -> str:
        anchor = each.anchor
        if anchor is None or anchor.origin != self._view.info.origin:
            return ""
        where = f"transaction {each.signature} (sequence {anchor.sequence})"
        if anchor.size > self._view.newest.size:
            return f"{where} anchors size {anchor.size}; the log shows {self._view.newest.size} entries only"
        try:
            head = await self._view.head(anchor.size)
            await self._view.check_consistency(anchor.size)
            if head.checkpoint.root != anchor.root:
                return f"{where} does not have the root of the signed checkpoint of size {anchor.size}"
            if await self._view.tree(anchor.size).root() != anchor.root:
                return f"{where} does not have the root that the tiles of size {anchor.size} lead to"
        except VerificationError as error:
            return f"{where} cannot be compared with the log at size {anchor.size}: {error}"
        return ""
