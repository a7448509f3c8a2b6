"""`metadata.compliance`: what a site says of the use of a page, as it was seen when the page was fetched.

Read from the response headers that the node's signed record keeps, the robots.txt that the fetch was judged by, and the
page's own markup:

- AIPREF: the Content-Usage header and robots.txt rule (draft-ietf-aipref-attach, draft-ietf-aipref-vocab);
- TDMRep: `tdm-reservation` and `tdm-policy` as headers and `meta` elements (W3C TDM Reservation Protocol, 2024). The
  site's /.well-known/tdmrep.json is not read;
- RSL: License lines, Link headers and `link` elements with the type application/rsl+xml (RSL 1.0);
- robots directives: X-Robots-Tag and `<meta name="robots">`.

A signal that is not here was not seen. None of them is judged: what follows from them is the lab's to decide.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal
from urllib.parse import urlsplit

import http_sf
import msgspec

from cleaning.links import resolve
from cleaning.usage_signals import UsageSignals
from dispatcher.robots_usage import RobotsUsage
from protocol.job import Purpose
from protocol.record import Record

Preference = Literal["allow", "disallow", "unknown"]
Source = Literal["header", "robots.txt", "html"]

RSL_TYPE: Final = "application/rsl+xml"
CATEGORIES: Final = ("train-ai", "ai-use", "search")
"""The labels of draft-ietf-aipref-vocab, section 6.1."""
_CATEGORY_OF: Final[dict[Purpose, str]] = {"train-ai": "train-ai", "rag": "ai-use", "search": "search"}
_MAX_LINKS: Final = 50
_VALUED: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_LINK_TARGET = re.compile(r"[ \t,]*<([^>]*)>")
_LINK_PARAMETER = re.compile(
    r"[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*)))?"
)
_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Aipref(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """AIPREF: the preferences as written, and for each category what they come to, the most restrictive winning.

    `for_purpose` is that of the category the declared purpose falls into: `train-ai`, `rag` (AI Use) or `search`.
    """

    header: str | None = None
    robots: tuple[str, ...] = ()
    preferences: dict[str, Preference]
    for_purpose: Preference


class Tdmrep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """TDMRep: 1 where rights are reserved, 0 where they are not, null where what is said is neither; the policy's
    address. Markup wins over headers."""

    reservation: Literal[0, 1] | None
    policy: str | None = None
    source: Source


class LicenseSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A licence the site points to: its address and where it stands."""

    url: str
    source: Source


class RobotsDirectives(msgspec.Struct, frozen=True, kw_only=True):
    """Directives for an agent (`*` for all), lower case, as `noindex` or `noai`."""

    source: Source
    agent: str
    directives: tuple[str, ...]


class Compliance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was declared to the site and what the site says. `robots_hash` is the SHA-256 of the robots.txt that the
    fetch was judged by, null where the site has none or it is not known any more. `rsl` are RSL licences, `licenses`
    all others."""

    purpose: Purpose
    robots_hash: str | None
    aipref: Aipref | None
    tdmrep: Tdmrep | None
    rsl: tuple[LicenseSignal, ...]
    licenses: tuple[LicenseSignal, ...]
    robots_directives: tuple[RobotsDirectives, ...]


def compliance_of(
    record: Record, *, robots_hash: str | None, robots: RobotsUsage | None, markup: UsageSignals | None
) -> Compliance:
    """Put together what was seen. `robots` is of the file of `robots_hash`, None where it says nothing of use."""
    headers = {header.name: header.value for header in record.headers}
    found = list(_licenses(record, headers.get("link"), robots, markup))
    return Compliance(
        purpose=record.purpose,
        robots_hash=robots_hash,
        aipref=_aipref(headers.get("content-usage"), robots, record),
        tdmrep=_tdmrep(headers.get("tdm-reservation"), headers.get("tdm-policy"), markup, record.final_url),
        rsl=_distinct(signal for signal, is_rsl in found if is_rsl),
        licenses=_distinct(signal for signal, is_rsl in found if not is_rsl),
        robots_directives=tuple(_directives(headers.get("x-robots-tag"), markup)),
    )


def signal_names(compliance: Compliance) -> Iterator[str]:
    """Name the signals of a page, each once, as they are counted on a dataset's card."""
    if compliance.aipref is not None:
        for category, preference in compliance.aipref.preferences.items():
            if preference != "unknown":
                yield f"aipref {category}={'y' if preference == 'allow' else 'n'}"
    if compliance.tdmrep is not None and compliance.tdmrep.reservation is not None:
        yield f"tdmrep reservation={compliance.tdmrep.reservation}"
    if compliance.rsl:
        yield "rsl license"
    if compliance.licenses:
        yield "license link"
    yield from dict.fromkeys(
        f"robots {directive.partition(':')[0]}"
        for each in compliance.robots_directives
        for directive in each.directives
    )


def preferences_of(text: str) -> dict[str, Preference]:
    """Read a preference expression (draft-ietf-aipref-vocab, section 6.4): all unknown where it does not parse."""
    found: dict[str, Preference] = dict.fromkeys(CATEGORIES, "unknown")
    try:
        members = http_sf.parse(text.encode("latin-1"), tltype="dictionary")
    except (ValueError, UnicodeEncodeError):
        return found
    if isinstance(members, dict):
        for category in CATEGORIES:
            member = members.get(category)
            value = member[0] if isinstance(member, tuple) else None
            if isinstance(value, http_sf.Token) and str(value) in ("y", "n"):
                found[category] = "allow" if str(value) == "y" else "disallow"
    return found


def combined(statements: Iterable[dict[str, Preference]]) -> dict[str, Preference]:
    """Combine statements of preference (draft-ietf-aipref-vocab, section 5.1): disallow wins, then allow."""
    order: tuple[Preference, ...] = ("disallow", "allow")
    several = list(statements)
    return {
        category: next((each for each in order if any(one[category] == each for one in several)), "unknown")
        for category in CATEGORIES
    }


def parse_links(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a Link header (RFC 8288, section 3): targets as written, with their parameters, names in lower case, the
    first of each name. Ends where it is malformed."""
    position = 0
    for _ in range(_MAX_LINKS):
        target = _LINK_TARGET.match(value, position)
        if target is None:
            return
        position = target.end()
        parameters: dict[str, str] = {}
        while (parameter := _LINK_PARAMETER.match(value, position)) is not None:
            position = parameter.end()
            quoted, bare = parameter[2], parameter[3]
            text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare or ""
            parameters.setdefault(parameter[1].lower(), text)
        yield target[1], parameters


def robots_tag(value: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read an X-Robots-Tag header: for each agent named (`*` for none) its directives, in order.

    An agent's name holds until the next one. The comma in the date of `unavailable_after` splits it: what is no
    directive's name then belongs to it.
    """
    agent = "*"
    found: dict[str, list[str]] = {}
    for part in value.split(","):
        words = " ".join(part.split()).lower()
        name, colon, rest = words.partition(":")
        if colon and name.strip() not in _VALUED and _AGENT.fullmatch(name.strip()):
            agent, words = name.strip(), rest.strip()
        directives = found.setdefault(agent, [])
        if directives and directives[-1].startswith("unavailable_after") and words[:1].isdigit():
            directives[-1] += f", {words}"
        elif words:
            directives.append(words)
    for each, directives in found.items():
        if directives:
            yield each, tuple(dict.fromkeys(directives))


def _aipref(header: str | None, robots: RobotsUsage | None, record: Record) -> Aipref | None:
    in_robots = () if robots is None else robots.preferences(_target(record.url))
    if header is None and not in_robots:
        return None
    stated = combined(preferences_of(text) for text in (*(() if header is None else (header,)), *in_robots))
    category = _CATEGORY_OF.get(record.purpose)
    return Aipref(
        header=header,
        robots=in_robots,
        preferences=stated,
        for_purpose="unknown" if category is None else stated[category],
    )


def _tdmrep(reservation: str | None, policy: str | None, markup: UsageSignals | None, base: str) -> Tdmrep | None:
    source: Source = "header"
    if markup is not None and (markup.tdm_reservation is not None or markup.tdm_policy is not None):
        reservation, source = markup.tdm_reservation, "html"
        policy = markup.tdm_policy
    if reservation is None and policy is None:
        return None
    # Header lines that say the same arrive as one list.
    said = {part.strip() for part in (reservation or "").split(",")}
    value: Literal[0, 1] | None = 1 if said == {"1"} else 0 if said == {"0"} else None
    return Tdmrep(reservation=value, policy=resolve(policy, base) if policy else None, source=source)


def _licenses(
    record: Record, link: str | None, robots: RobotsUsage | None, markup: UsageSignals | None
) -> Iterator[tuple[LicenseSignal, bool]]:
    for target, parameters in parse_links(link or ""):
        url = resolve(target, record.final_url)
        if url is not None and "license" in parameters.get("rel", "").lower().split():
            is_rsl = parameters.get("type", "").strip().lower() == RSL_TYPE
            yield LicenseSignal(url=url, source="header"), is_rsl
    for each in robots.licenses[:_MAX_LINKS] if robots is not None else ():
        if (url := resolve(each, record.url)) is not None:
            yield LicenseSignal(url=url, source="robots.txt"), True
    for license_link in markup.licenses if markup is not None else ():
        yield LicenseSignal(url=license_link.url, source="html"), license_link.type == RSL_TYPE


def _directives(header: str | None, markup: UsageSignals | None) -> Iterator[RobotsDirectives]:
    for agent, directives in robots_tag(header or ""):
        yield RobotsDirectives(source="header", agent=agent, directives=directives)
    for name, content in markup.robots if markup is not None else ():
        for _, directives in robots_tag(content):
            yield RobotsDirectives(source="html", agent="*" if name == "robots" else name, directives=directives)


def _distinct(signals: Iterable[LicenseSignal]) -> tuple[LicenseSignal, ...]:
    return tuple(dict.fromkeys(signals))


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
