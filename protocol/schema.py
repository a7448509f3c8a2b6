"""Exports what the extension shares with this package: `python -m protocol.schema [--check]`.

- `meadow-v1.json`: signed payloads and session messages as JSON Schema 2020-12, members in canonical order;
- `rules-v1.json`: statement kinds, session states, limits, recorded headers, URL and address rules;
- `types.ts`: the schema's types.
"""

import enum
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from protocol import limits, messages, session, statements, urls
from protocol.dataset import DatasetStatement, Row
from protocol.job import Certificate, Job
from protocol.messages import (
    Accept,
    Ack,
    Availability,
    Balance,
    Cancel,
    Challenge,
    Drain,
    Failure,
    Hello,
    Hop,
    HopVerdict,
    Ping,
    Pong,
    Refuse,
    Reputation,
    SessionError,
    Welcome,
)
from protocol.record import RECORDED_HEADERS, Record
from protocol.typescript import Schema, write_declarations

EXPORTED = (
    Certificate,
    Job,
    Record,
    Hello,
    Challenge,
    Welcome,
    Accept,
    Refuse,
    Failure,
    Hop,
    HopVerdict,
    Ack,
    Cancel,
    Availability,
    Ping,
    Pong,
    Balance,
    Reputation,
    Drain,
    SessionError,
    DatasetStatement,
    Row,
)
_FOLDER = Path(__file__).resolve().parents[1] / "extension"
_PATTERN_END = r"(?![\s\S])"


class Rules(msgspec.Struct, frozen=True):
    """The tables of PROTOCOL.md that are no types. Networks are in CIDR notation."""

    signature_domain: str
    statement_kinds: dict[str, int]
    transitions: tuple[tuple[str, str, str, str], ...]
    limits: dict[str, int]
    recorded_headers: tuple[str, ...]
    refusals_that_hold_everywhere: tuple[str, ...]
    url_refusals: tuple[str, ...]
    refused_suffixes: tuple[str, ...]
    label_pattern: str
    name_bytes: int
    ports: dict[str, int]
    ipv4_denied: tuple[str, ...]
    ipv6_allowed: str
    ipv6_denied: tuple[str, ...]
    isatap_interface_ids: tuple[int, ...]


def export_schema() -> bytes:
    """Return the schema of every signed payload and session message."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Meadow protocol, version 1",
        "$defs": _definitions(),
    }
    return _stable(document)


def export_rules() -> bytes:
    """Return the tables that both languages share."""
    return _stable(
        Rules(
            signature_domain=statements.DOMAIN,
            statement_kinds={kind.name.lower(): kind.value for kind in statements.Kind},
            transitions=tuple(
                (state.value, side.value, _message_name(message), following.value)
                for (state, side, message), following in session.TRANSITIONS.items()
            ),
            limits={name: value for name, value in vars(limits).items() if name.isupper()},
            recorded_headers=RECORDED_HEADERS,
            refusals_that_hold_everywhere=_values(messages.POLICY_REFUSALS),
            url_refusals=_values(urls.Reason),
            refused_suffixes=urls.REFUSED_SUFFIXES,
            label_pattern=f"^{urls.LABEL_PATTERN}{_PATTERN_END}",
            name_bytes=urls.NAME_BYTES,
            ports=urls.DEFAULT_PORTS,
            ipv4_denied=tuple(str(block) for block in urls.IPV4_DENIED),
            ipv6_allowed=str(urls.IPV6_GLOBAL),
            ipv6_denied=tuple(str(block) for block in urls.IPV6_DENIED),
            isatap_interface_ids=urls.ISATAP_INTERFACE_IDS,
        )
    )


def export_types() -> bytes:
    """Return the schema's types as a TypeScript module."""
    return write_declarations(_definitions()).encode()


EXPORTS = {
    _FOLDER / "schema" / "meadow-v1.json": export_schema,
    _FOLDER / "schema" / "rules-v1.json": export_rules,
    _FOLDER / "src" / "protocol" / "types.ts": export_types,
}


def _values(codes: Iterable[enum.StrEnum]) -> tuple[str, ...]:
    return tuple(sorted(code.value for code in codes))


def _message_name(message: type) -> str:
    tag = getattr(getattr(message, "__struct_config__", None), "tag", None)
    return tag if isinstance(tag, str) else message.__name__.lower()


def _definitions() -> Mapping[str, Schema]:
    _, components = msgspec.json.schema_components(EXPORTED, ref_template="#/$defs/{name}")
    return cast("Mapping[str, Schema]", components)


def _stable(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def main(arguments: list[str]) -> int:
    """Write the exports, or with `--check` compare them with what is committed."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m protocol.schema [--check]\n")
        return 2
    outdated = [path for path, export in EXPORTS.items() if not path.exists() or path.read_bytes() != export()]
    if not arguments:
        for path in outdated:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(EXPORTS[path]())
        return 0
    for path in outdated:
        sys.stderr.write(f"{path.relative_to(_FOLDER.parent)} is not what protocol/ says; run: make schema\n")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
