"""What a robots.txt says of the use of pages: Content-Usage rules (AIPREF) and License lines (RSL).

A `Content-Usage: PATH PREFERENCES` rule belongs to a group and holds for the paths that its PATH matches, the longest
match winning (draft-ietf-aipref-attach, section 3); `License: URL` belongs to no group (RSL 1.0). Of a file only these
lines are kept, those of the groups that are this crawler's, in a form of their own: one of the two lines above a line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 65_536
"""Of the lines of one file; what comes after is left out."""
_LINE = re.compile(r"[ \t]*(user-agent|content-usage|license|allow|disallow)[ \t]*:[ \t]*([^#\r\n]*)", re.IGNORECASE)
_ENDS = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class RobotsUsage:
    """The lines of one file: (path pattern, preferences as written) and licence addresses."""

    rules: tuple[tuple[str, str], ...] = ()
    licenses: tuple[str, ...] = ()

    def preferences(self, target: str) -> tuple[str, ...]:
        """Return the preferences that hold for a path with its query: those of the longest pattern that matches.

        Several where patterns of that length contradict: each of them holds.
        """
        matching = [(len(pattern), words) for pattern, words in self.rules if _matches(pattern, target)]
        longest = max((length for length, _ in matching), default=0)
        return tuple(dict.fromkeys(words for length, words in matching if length == longest))


def usage_lines(text: str, agent: str) -> str:
    """Keep what a robots.txt says of the use of its pages by a crawler of this product token; empty for nothing."""
    lowered = text.lower()
    if "content-usage" not in lowered and "license" not in lowered:
        return ""
    ours: list[str] = []
    everyones: list[str] = []
    licenses: list[str] = []
    agents: set[str] = set()
    is_named, in_rules = False, False
    for name, value in _fields(text):
        if name == "user-agent":
            if in_rules:
                agents, in_rules = set(), False
            agents.add(value.lower())
            is_named = is_named or value.lower() == agent.lower()
        elif name == "license":
            licenses.append(f"License: {value}")
        else:
            in_rules = True
            rule = _rule(value) if name == "content-usage" else None
            if rule is not None and agent.lower() in agents:
                ours.append(rule)
            if rule is not None and "*" in agents:
                everyones.append(rule)
    return _bounded([*licenses, *(ours if is_named else everyones)])


def read_usage(kept: str) -> RobotsUsage:
    """Read what `usage_lines` has kept."""
    rules: list[tuple[str, str]] = []
    licenses: list[str] = []
    for name, value in _fields(kept):
        if name == "license":
            licenses.append(value)
        elif name == "content-usage":
            pattern, _, words = value.partition(" ")
            rules.append((pattern, words))
    return RobotsUsage(tuple(rules), tuple(dict.fromkeys(licenses)))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in _ENDS.split(text):
        if (match := _LINE.match(line)) is not None:
            yield match[1].lower(), match[2].strip(" \t")


def _rule(value: str) -> str | None:
    """Write a rule with one space after its path. Without a path, as early drafts had it, it holds for all paths."""
    words = value.split(None, 1)
    if not words:
        return None
    if not words[0].startswith("/"):
        words = ["/", value]
    return f"Content-Usage: {words[0]} {words[1]}" if len(words) == 2 else None


def _bounded(lines: list[str]) -> str:
    kept: list[str] = []
    size = 0
    for line in lines:
        # What is no text for a database (NUL, half of a surrogate pair) is no rule either.
        if not line.isprintable():
            continue
        size += len(line.encode()) + 1
        if size > MAX_BYTES:
            break
        kept.append(line)
    return "\n".join(kept)


def _matches(pattern: str, target: str) -> bool:
    """Tell whether a pattern matches a path (RFC 9309, section 2.2.3: `*` and a final `$`), in linear time."""
    is_whole = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not target.startswith(first):
        return False
    if not others:
        return not is_whole or target == first
    position = len(first)
    last = others.pop() if is_whole else ""
    for part in others:
        found = target.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return not is_whole or (target.endswith(last) and len(target) - len(last) >= position)
