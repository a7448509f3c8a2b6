"""A page beside its earlier version: what became of it since."""

from collections.abc import Callable

import msgspec

from cleaning.differences import MAX_TEXT_CHARACTERS, difference_of
from cleaning.document import Change
from cleaning.structured_data import JsonObject, JsonValue
from cleaning.wants import Tracking


def told_change(tracking: Tracking, markdown: str, filled: Callable[[str], str | None]) -> Change:
    """Compare the markdown of a page with that of its earlier version; `filled` fills a schema from the page.

    White space alone changes nothing. The earlier version is given as markdown already; its values, where they are
    compared, as JSON text in `tracking.earlier.values`.
    """
    earlier = tracking.earlier
    if earlier is None:
        return Change("removed" if tracking.is_gone else "new")
    if tracking.is_gone:
        return Change("removed", earlier.seen_at)
    if earlier.markdown is None:
        return Change("same" if earlier.is_same_body else "changed", earlier.seen_at, is_lost=True)
    before = earlier.markdown
    if before.split() == markdown.split():
        return Change("same", earlier.seen_at)
    difference = None
    if tracking.diff and max(len(before), len(markdown)) <= MAX_TEXT_CHARACTERS:
        difference = difference_of(before, markdown)
    values = None
    if tracking.values and tracking.schema is not None:
        values = _changed_values(earlier.values, filled(tracking.schema))
    return Change("changed", earlier.seen_at, difference=difference, values=values)


def _changed_values(before: str | None, now: str | None) -> str:
    """The properties whose values differ, each with both values, as JSON text."""
    previous, current = _properties(before), _properties(now)
    changed: JsonObject = {}
    for name in dict.fromkeys([*previous, *current]):
        if previous.get(name) != current.get(name):
            changed[name] = {"previous": previous.get(name), "current": current.get(name)}
    return msgspec.json.encode(changed).decode()


def _properties(text: str | None) -> JsonObject:
    value: JsonValue = None if text is None else msgspec.json.decode(text)
    return value if isinstance(value, dict) else {}
