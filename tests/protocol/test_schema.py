"""What is exported to the extension is what `protocol/` says, and names every construct it cannot write."""

import json

import pytest

from protocol import schema
from protocol.job import Job
from protocol.typescript import write_declarations


def test_the_committed_exports_are_current() -> None:
    assert schema.main(["--check"]) == 0


def test_members_stand_in_canonical_order() -> None:
    definitions = json.loads(schema.export_schema())["$defs"]
    assert list(definitions["Job"]["properties"]) == list(Job.__struct_fields__)


def test_a_changed_export_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(iter(schema.EXPORTS))
    monkeypatch.setitem(schema.EXPORTS, path, lambda: b"something else")
    assert schema.main(["--check"]) == 1


def test_a_construct_without_a_typescript_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="no TypeScript is known"):
        write_declarations({"Odd": {"type": "object", "properties": {"a": {"not": {}}}}})
