"""Requests to search: JSON in the shape of Firecrawl's v2 search to a typed request, or a rejection with its reasons.

What is searched is what the team's jobs have fetched, and nothing else; a field that means the whole web is refused.
"""

import difflib
from typing import Final

import msgspec

from dispatcher.request_fields import (
    JsonValue,
    Problem,
    Rejected,
    Rule,
    is_flag,
    is_text,
    is_whole,
    only,
    read_object,
    shown,
)
from dispatcher.request_fields import rejected as rejected_by
from dispatcher.search_index import words_of

MAX_RESULTS: Final = 100
MAX_QUERY: Final = 500
_DEFAULT_RESULTS: Final = 5
_FETCHED: Final = "pages that the team's jobs have fetched are searched, not the web"
_RULES: Final[dict[str, Rule]] = {
    "origin": Rule("a string of at most 1000 characters", is_text),
    "integration": Rule("a string of at most 1000 characters", is_text),
    "ignoreInvalidURLs": Rule("true or false", is_flag),
    "timeout": Rule("whole milliseconds", lambda value: is_whole(value, 1, 2**31)),
    "sources": only(["web"], [{"type": "web"}], [], reason=_FETCHED),
    "categories": only([], reason=_FETCHED),
    "tbs": only("", reason=_FETCHED),
    "location": only("", reason=_FETCHED),
    "country": only("", reason=_FETCHED),
    "includeDomains": only([], reason="put the domain's words into the query"),
    "excludeDomains": only([], reason="domains cannot be left out"),
    "enterprise": only([], reason=_FETCHED),
}
_OWN: Final = ("query", "limit", "scrapeOptions")


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. With `markdown` each page that is found comes with its text."""

    query: str
    limit: int
    markdown: bool


def decode_search(body: bytes) -> SearchRequest | Rejected:
    """Decode the body of `POST /v2/search`."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems: list[Problem] = []
    known = {*_OWN, *_RULES}
    for name, value in fields.items():
        rule = _RULES.get(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            problems.append(Problem(name[:100], shown(value), "nothing", hint))
        elif rule is not None and not rule.admits(value):
            problems.append(Problem(name, shown(value), rule.accepts, rule.reason))
    query, limit = fields.get("query"), fields.get("limit", _DEFAULT_RESULTS)
    if not isinstance(query, str) or len(query) > MAX_QUERY or not words_of(query):
        got = shown(query) if "query" in fields else "nothing"
        problems.append(Problem("query", got, f"words, at most {MAX_QUERY} characters"))
    if not is_whole(limit, 1, MAX_RESULTS):
        problems.append(Problem("limit", shown(limit), f"a whole number from 1 to {MAX_RESULTS}"))
    markdown = _markdown(fields.get("scrapeOptions"), problems)
    if problems or not isinstance(query, str) or not isinstance(limit, int):
        return rejected_by(problems)
    return SearchRequest(query=query, limit=limit, markdown=markdown)


def _markdown(options: JsonValue, problems: list[Problem]) -> bool:
    """Whether texts are wanted too."""
    if options is None or options == {}:
        return False
    formats = options.get("formats") if isinstance(options, dict) else None
    if formats in (["markdown"], [{"type": "markdown"}]) and isinstance(options, dict) and len(options) == 1:
        return True
    accepts = shown({"formats": ["markdown"]})
    problems.append(Problem("scrapeOptions", shown(options), accepts, "the pages were fetched before"))
    return False
