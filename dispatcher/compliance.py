"""The compliance gate: what a site's robots.txt says of a URL (RFC 9309).

Two parsers read the file and one "no" is enough. A file that cannot be had counts as "no" (5xx, timeout), as "yes"
when the site says there is none (4xx), and 429 means to come back later.
"""

import enum
import hashlib
import math
from dataclasses import dataclass

from protego import Protego
from robots.parser import RobotsParser

AGENT_TOKEN = "MeadowBot"  # noqa: S105  (a robots.txt product token, not a secret)
MAX_ROBOTS_BYTES = 512 * 1024
"""RFC 9309, section 2.5: at least 500 KiB are parsed."""
MAX_CRAWL_DELAY_MS = 60_000


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
    """The rules of one origin, as far as they are known. `digest` is the SHA-256 of the file, None without one."""

    def __init__(self, state: RobotsState, body: bytes = b"", *, retry_after_ms: int = 0) -> None:
        self.state = state
        self.retry_after_ms = retry_after_ms
        self.digest: str | None = None
        self.crawl_delay_ms: int | None = None
        self._protego: Protego | None = None
        self._robotspy: RobotsParser | None = None
        if state is RobotsState.FOUND:
            self.digest = hashlib.sha256(body).hexdigest()
            text = body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
            self._protego = Protego.parse(text)
            self._robotspy = RobotsParser.from_string(text)
            self.crawl_delay_ms = _milliseconds(self._protego.crawl_delay(AGENT_TOKEN))

    def judge(self, url: str) -> Verdict:
        """Decide on a normalised URL of this origin."""
        if self.state is RobotsState.UNREACHABLE:
            return Verdict(Decision.DENY, "robots_unreachable", "the site's robots.txt cannot be read")
        if self.state is RobotsState.BUSY:
            return Verdict(Decision.LATER, "robots_busy", "the site asks to come back later for its robots.txt")
        if self._protego is not None and self._robotspy is not None:
            allowed = self._protego.can_fetch(url, AGENT_TOKEN) and self._robotspy.can_fetch(AGENT_TOKEN, url)
            if not allowed:
                return Verdict(Decision.DENY, "robots_disallowed", "the site's robots.txt disallows this page")
        return Verdict(Decision.ALLOW)


def _milliseconds(delay_s: float | None) -> int | None:
    if delay_s is None or not math.isfinite(delay_s) or delay_s < 0:
        return None
    return min(MAX_CRAWL_DELAY_MS, round(delay_s * 1000))


def state_of_status(status: int) -> RobotsState:
    """Map the HTTP status of a robots.txt to what it means (RFC 9309, section 2.3.1)."""
    if 200 <= status < 300:
        return RobotsState.FOUND
    if status == 429:
        return RobotsState.BUSY
    if 400 <= status < 500:
        return RobotsState.ABSENT
    return RobotsState.UNREACHABLE
