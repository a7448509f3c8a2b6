"""Exports the one schema as JSON Schema 2020-12, for the extension: `python -m protocol.schema [--check]`."""

import sys
from pathlib import Path

import msgspec

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
    SessionError,
    Welcome,
)
from protocol.record import Record

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
    Drain,
    SessionError,
    DatasetStatement,
    Row,
)
PATH = Path(__file__).resolve().parents[1] / "extension" / "schema" / "meadow-v1.json"


def export_schema() -> bytes:
    """Return the schema of every signed payload and session message, in stable bytes."""
    _, components = msgspec.json.schema_components(EXPORTED, ref_template="#/$defs/{name}")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Meadow protocol, version 1",
        "$defs": components,
    }
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def main(arguments: list[str]) -> int:
    """Write the schema, or with `--check` compare it with what is committed."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m protocol.schema [--check]\n")
        return 2
    schema = export_schema()
    if arguments:
        if PATH.exists() and PATH.read_bytes() == schema:
            return 0
        sys.stderr.write(f"{PATH.relative_to(PATH.parents[2])} is not what protocol/ says; run: make schema\n")
        return 1
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_bytes(schema)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
