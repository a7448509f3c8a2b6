"""Reads what a page's markup says of its own use: robots directives, TDM reservation, licence links."""

from itertools import islice
from typing import Final

from lxml.html import HtmlElement

from cleaning.links import resolve
from cleaning.tree import collapse
from cleaning.usage_signals import LicenseLink, UsageSignals

MAX_SIGNALS: Final = 50
MAX_CHARACTERS: Final = 1_000
_ROBOTS: Final = frozenset({"robots", "meadowbot"})
_TDM_RESERVATION, _TDM_POLICY = "tdm-reservation", "tdm-policy"


def extract_usage_signals(root: HtmlElement, base: str) -> UsageSignals | None:
    """Collect the signals of a page, None where it has none. `base` is what its relative links start from."""
    robots: list[tuple[str, str]] = []
    tdm: dict[str, str] = {}
    for meta in root.iter("meta"):
        name = (meta.get("name") or "").strip().lower()
        if name in _ROBOTS or name in (_TDM_RESERVATION, _TDM_POLICY):
            content = collapse(meta.get("content") or "")[:MAX_CHARACTERS]
            if name in _ROBOTS:
                robots.append((name, content))
            else:
                tdm.setdefault(name, content)
    licenses: dict[LicenseLink, None] = {}
    for element in root.iter("link", "a", "area"):
        if "license" not in (element.get("rel") or "").lower().split():
            continue
        target = resolve(element.get("href") or "", base)
        if target is not None and len(target) <= MAX_CHARACTERS:
            kind = collapse(element.get("type") or "").lower()[:100]
            licenses[LicenseLink(target, kind)] = None
    signals = UsageSignals(
        robots=tuple(robots[:MAX_SIGNALS]),
        tdm_reservation=tdm.get(_TDM_RESERVATION),
        tdm_policy=tdm.get(_TDM_POLICY),
        licenses=tuple(islice(licenses, MAX_SIGNALS)),
    )
    return None if signals == UsageSignals() else signals
