"""The `json` of a page: a value that matches a lab's schema, what is missing in it, and what does not match."""

import msgspec

from cleaning.json_schema import faults_of, schema_of
from cleaning.page_facts import PageFacts
from cleaning.schema_filling import Filler, Nothing

_SHOWN = 10


class Filled(msgspec.Struct, frozen=True):
    """The value as JSON text, None where the page says nothing that was asked for."""

    json: str | None
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def fill_schema(schema: str, facts: PageFacts) -> Filled:
    """Fill a schema from a page's facts; `schema` is the text of a sound one."""
    filler = Filler(schema_of(schema), facts)
    value = filler.value()
    missing = tuple(filler.missing)
    if isinstance(value, Nothing) or value == {}:
        return Filled(None, missing, ("json: the page says nothing of what the schema asks for",))
    warnings: list[str] = []
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        warnings.append(f"json: not found in the page: {', '.join(missing[:_SHOWN])}{more}")
    faults = [fault for fault in faults_of(schema, value) if not _is_missing(fault)]
    if faults:
        warnings.append(f"json: does not match the schema: {'; '.join(faults[:_SHOWN])}")
    return Filled(msgspec.json.encode(value).decode(), missing, tuple(warnings))


def _is_missing(fault: str) -> bool:
    return fault.endswith("is a required property")
