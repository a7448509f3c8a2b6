"""The difference of two texts, line by line, as a unified diff and as its parts.

Myers' algorithm (An O(ND) Difference Algorithm, 1986), on what is left between the lines both texts begin and end with.
Its work is bounded: texts that differ in more than `MAX_EDITS` lines are told as one block that took another's place.
"""

from cleaning.document import Chunk, Difference, LineChange

MAX_EDITS = 1_000
MAX_TEXT_CHARACTERS = 2_000_000
CONTEXT = 3

_Edit = tuple[str, int, int]
"""A line that is `=` in both, `-` in the old alone or `+` in the new alone, with its place in each, from 0."""


def difference_of(old: str, new: str) -> Difference | None:
    """Return what changed from one text to another; None where no line did."""
    before, after = old.splitlines(), new.splitlines()
    edits = _edits(before, after)
    groups = _grouped(edits)
    if not groups:
        return None
    chunks = tuple(_chunk(group, before, after) for group in groups)
    lines = [line for chunk in chunks for line in (chunk.content, *(change.content for change in chunk.changes))]
    return Difference(
        "\n".join(lines),
        chunks,
        additions=sum(kind == "+" for kind, _, _ in edits),
        deletions=sum(kind == "-" for kind, _, _ in edits),
    )


def _edits(before: list[str], after: list[str]) -> list[_Edit]:
    start = 0
    while start < len(before) and start < len(after) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    middle = _shortest(old, new)
    if middle is None:
        middle = [("-", place, 0) for place in range(len(old))] + [("+", len(old), place) for place in range(len(new))]
    head: list[_Edit] = [("=", place, place) for place in range(start)]
    tail: list[_Edit] = [("=", len(before) - left, len(after) - left) for left in range(end, 0, -1)]
    return [*head, *((kind, at + start, to + start) for kind, at, to in middle), *tail]


def _shortest(old: list[str], new: list[str]) -> list[_Edit] | None:
    """The shortest edit script; None where it is longer than `MAX_EDITS`."""
    furthest = {1: 0}
    trail: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), MAX_EDITS) + 1):
        trail.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (
                diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
            )
            at = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            while at < len(old) and at - diagonal < len(new) and old[at] == new[at - diagonal]:
                at += 1
            furthest[diagonal] = at
            if at >= len(old) and at - diagonal >= len(new):
                return _walked_back(trail, len(old), len(new))
    return None


def _walked_back(trail: list[dict[int, int]], at: int, to: int) -> list[_Edit]:
    script: list[_Edit] = []
    for edits in range(len(trail) - 1, -1, -1):
        furthest = trail[edits]
        diagonal = at - to
        down = diagonal == -edits or (
            diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
        )
        came_from = diagonal + 1 if down else diagonal - 1
        came_at = furthest[came_from]
        came_to = came_at - came_from
        while at > max(came_at, 0) and to > max(came_to, 0):
            at, to = at - 1, to - 1
            script.append(("=", at, to))
        if edits == 0:
            break
        if down:
            to -= 1
            script.append(("+", at, to))
        else:
            at -= 1
            script.append(("-", at, to))
    script.reverse()
    return script


def _grouped(edits: list[_Edit]) -> list[list[_Edit]]:
    """Cut out the changes with the lines around them; changes that are close together share a group."""
    changed = [place for place, edit in enumerate(edits) if edit[0] != "="]
    groups: list[tuple[int, int]] = []
    for place in changed:
        first, last = max(0, place - CONTEXT), min(len(edits), place + CONTEXT + 1)
        if groups and first <= groups[-1][1]:
            groups[-1] = (groups[-1][0], last)
        else:
            groups.append((first, last))
    return [edits[first:last] for first, last in groups]


def _chunk(group: list[_Edit], before: list[str], after: list[str]) -> Chunk:
    changes: list[LineChange] = []
    for kind, at, to in group:
        if kind == "=":
            changes.append(LineChange("normal", f" {before[at]}", ln1=at + 1, ln2=to + 1))
        elif kind == "-":
            changes.append(LineChange("del", f"-{before[at]}", ln=at + 1))
        else:
            changes.append(LineChange("add", f"+{after[to]}", ln=to + 1))
    old_lines = sum(kind != "+" for kind, _, _ in group)
    new_lines = sum(kind != "-" for kind, _, _ in group)
    # A side without lines is numbered by the line before it (POSIX diff, unified format).
    old_start = group[0][1] + (1 if old_lines else 0)
    new_start = group[0][2] + (1 if new_lines else 0)
    heading = f"@@ -{_range(old_start, old_lines)} +{_range(new_start, new_lines)} @@"
    return Chunk(heading, tuple(changes), old_start, old_lines, new_start, new_lines)


def _range(start: int, lines: int) -> str:
    return str(start) if lines == 1 else f"{start},{lines}"
