"""The compliance gate: what a site's robots.txt says of a URL (RFC 9309).

Two parsers read the file and one "no" is enough. A file that cannot be had counts as "no" (5xx, timeout), as "yes"
when the site says there is none (4xx), and 429 means to come back later.

The file is hostile input. Both parsers keep every agent's rules apart, at a cost that is a product of agents, groups
and rules, so each is given only what concerns this crawler: its own groups and those of `*`.
"""

import enum
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from protego import Protego
from robots.parser import RE_AGENT, RE_RULE_ALLOW, RE_RULE_DISALLOW, RobotsParser

from dispatcher.robots_usage import usage_lines

AGENT_TOKEN = "MeadowBot"  # noqa: S105  (a robots.txt product token, not a secret)
MAX_ROBOTS_BYTES = 512 * 1024
"""RFC 9309, section 2.5: at least 500 KiB are parsed."""
MAX_SITE_MAPS = 100
"""As many Sitemap lines of a file are kept."""
MAX_CRAWL_DELAY_MS = 60_000
MAX_COST = 20_000
"""A rule costs 1, each of its wildcards 10 more. Judging a URL reads every rule: a dearer file is taken as "no"."""
_INLINE_BYTES = 8_192
_AGENT_LINE = re.compile(r"user[\s-]*agent(?![a-z])[\s:]*", re.IGNORECASE)


class RobotsState(enum.StrEnum):
    """What became of the request for a robots.txt."""

    FOUND = "found"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"
    BUSY = "busy"


class Decision(enum.StrEnum):
    """Whether a page may be fetched."""

    ALLOW = "allow"
    DENY = "deny"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and its reason in words; `code` is machine-readable, empty for ALLOW."""

    decision: Decision
    code: str = ""
    detail: str = ""


class RobotsRules:
    """The rules of one origin, as far as they are known. `digest` is the SHA-256 of the file, None without one; `usage`
    what the file says of the use of pages (`robots_usage`), empty for nothing.

    `is_heavy` files take long to parse and to judge by: do both in a thread. `size_bytes` is what keeping them costs,
    within a small factor.
    """

    def __init__(self, state: RobotsState, body: bytes = b"", *, retry_after_ms: int = 0) -> None:
        self.state = state
        self.retry_after_ms = retry_after_ms
        self.digest: str | None = None
        self.usage = ""
        self.crawl_delay_ms: int | None = None
        self.site_maps: tuple[str, ...] = ()
        self._protego: Protego | None = None
        self._robotspy: RobotsParser | None = None
        self._is_too_dear = False
        self.size_bytes = len(body)
        if state is RobotsState.FOUND:
            self.digest = hashlib.sha256(body).hexdigest()
            text = body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
            self.usage = usage_lines(text, AGENT_TOKEN)
            rules = _rules_for_us(text)
            self._is_too_dear = sum(1 + 10 * rule.count("*") for rule in rules) > MAX_COST
            if self._is_too_dear:
                self.size_bytes = 0
            else:
                self._robotspy = RobotsParser.from_string("\n".join(["User-agent: *", *rules]))
                self._protego = Protego.parse("\n".join(_without_others(text)))
                self.crawl_delay_ms = _milliseconds(self._protego.crawl_delay(AGENT_TOKEN))
                self.site_maps = tuple(islice(self._protego.sitemaps, MAX_SITE_MAPS))

    @property
    def is_heavy(self) -> bool:
        """Tell whether judging by these rules takes more than a moment."""
        return is_heavy(self.size_bytes)

    def judge(self, url: str) -> Verdict:
        """Decide on a normalised URL of this origin."""
        if self.state is RobotsState.UNREACHABLE:
            return Verdict(Decision.DENY, "robots_unreachable", "the site's robots.txt cannot be read")
        if self.state is RobotsState.BUSY:
            return Verdict(Decision.LATER, "robots_busy", "the site asks to come back later for its robots.txt")
        if self._is_too_dear:
            return Verdict(Decision.DENY, "robots_too_long", "the site's robots.txt has too many rules to apply")
        if self._protego is not None and self._robotspy is not None:
            allowed = self._protego.can_fetch(url, AGENT_TOKEN) and self._robotspy.can_fetch(AGENT_TOKEN, url)
            if not allowed:
                return Verdict(Decision.DENY, "robots_disallowed", "the site's robots.txt disallows this page")
        return Verdict(Decision.ALLOW)


def _milliseconds(delay_s: float | None) -> int | None:
    if delay_s is None or not math.isfinite(delay_s) or delay_s < 0:
        return None
    return round(min(MAX_CRAWL_DELAY_MS, delay_s * 1000))


def is_heavy(size_bytes: int) -> bool:
    """Tell whether a file of this size takes more than a moment to parse."""
    return size_bytes > _INLINE_BYTES


def _rules_for_us(text: str) -> list[str]:
    """Return the rules of the groups that name this crawler, else of those of `*` (RFC 9309, section 2.2.1)."""
    ours: list[str] = []
    everyones: list[str] = []
    agents: set[str] = set()
    is_named, in_rules = False, False
    for words in map(str.split, text.splitlines()):
        # No rule needs more than one space in a row, and matching a line takes time cubic in them.
        line = " ".join(words)
        if agent := RE_AGENT.match(line):
            if in_rules:
                agents, in_rules = set(), False
            name = agent.group("AGENT").lower()
            agents.add(name)
            is_named = is_named or name == AGENT_TOKEN.lower()
        elif RE_RULE_ALLOW.match(line) or RE_RULE_DISALLOW.match(line):
            in_rules = True
            if AGENT_TOKEN.lower() in agents:
                ours.append(line)
            if "*" in agents:
                everyones.append(line)
    return ours if is_named else everyones


def _without_others(text: str) -> Iterator[str]:
    """Give all agents that are not this crawler one name. An agent that this crawler's name begins with is kept."""
    for line in text.splitlines():
        stripped = line.strip()
        agent = _AGENT_LINE.match(stripped)
        if agent is None:
            yield stripped
            continue
        name = stripped[agent.end() :].partition("#")[0].strip().lower()
        is_ours = name == "*" or AGENT_TOKEN.lower().startswith(name.replace("*", ""))
        yield f"User-agent: {name}" if is_ours else "User-agent: others"


def state_of_status(status: int) -> RobotsState:
    """Map the HTTP status of a robots.txt to what it means (RFC 9309, section 2.3.1)."""
    if 200 <= status < 300:
        return RobotsState.FOUND
    if status == 429:
        return RobotsState.BUSY
    if 400 <= status < 500:
        return RobotsState.ABSENT
    return RobotsState.UNREACHABLE
