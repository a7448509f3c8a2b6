"""The tables and examples of PROTOCOL.md say what the code does."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from protocol import urls
from protocol.job import Job, Mode, Purpose
from protocol.messages import PERMANENT_FAILURES, POLICY_REFUSALS, FailureCode, RefusalCode
from protocol.record import RECORDED_HEADERS, ContentEncoding
from protocol.session import TRANSITIONS
from protocol.statements import Kind, decode_canonical
from tests.protocol.page_tables import STRUCTS, error_codes, field_rows, limit_values, message_name, type_rows
from tests.vectors.fixed import JOB, JOB_KEY, JOB_STATEMENT, NODE, ROOT

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "protocol" / "PROTOCOL.md").read_text()
Row = tuple[str, ...]


def tables() -> dict[Row, list[list[Row]]]:
    """Return the page's tables by their headings, in order."""
    found: dict[Row, list[list[Row]]] = {}
    for is_table, lines in itertools.groupby(PAGE.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            rows = [tuple(cell.strip() for cell in line.strip("|").split(" |")) for line in lines if "|---" not in line]
            found.setdefault(rows[0], []).append(rows[1:])
    return found


TABLES = tables()


def only(*head: str) -> list[Row]:
    (table,) = TABLES[head]
    return table


def code(cell: str) -> str:
    return cell.strip("`")


FIELDS = re.split(r"\n\| field \| type \| default \| meaning \|\n\|-[-|]+\|\n", PAGE)[1:]


def test_every_struct_has_its_table() -> None:
    assert len(FIELDS) == len(STRUCTS)


@pytest.mark.parametrize(
    ("struct", "text"), list(zip(STRUCTS, FIELDS, strict=True)), ids=lambda value: getattr(value, "__name__", "")
)
def test_field_tables(struct: type, text: str) -> None:
    lines = itertools.takewhile(lambda line: line.startswith("|"), text.splitlines())
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" |")) for line in lines]
    assert [(code(name), type_, default) for name, type_, default, _ in rows] == field_rows(struct)
    assert all(meaning for *_, meaning in rows)


def test_types() -> None:
    rows = [(code(word), bounds) for word, _, bounds in only("type", "what it is", "bounds")]
    assert rows[: len(type_rows())] == type_rows()


def test_state_table() -> None:
    stated = {}
    for state, sender, sent, following in only("state", "sender", "message", "next state"):
        for message in sent.split(", "):
            key = (code(state), sender, code(message))
            assert key not in stated
            stated[key] = code(following)
    assert stated == {
        (state.value, side.value, message_name(message)): following.value
        for (state, side, message), following in TRANSITIONS.items()
    }


def test_limits() -> None:
    stated = {code(name): int(value.replace(",", "")) for name, value, _, _ in only("name", "value", "unit", "meaning")}
    assert stated == limit_values()


def test_error_codes() -> None:
    assert sorted(code(cell) for cell, _ in only("code", "meaning")) == sorted(error_codes())


def test_refusals_and_failures() -> None:
    refusals = {code(cell): held for cell, _, held in only("refusal code", "meaning", "holds on every node")}
    assert refusals == {reason.value: "yes" if reason in POLICY_REFUSALS else "no" for reason in RefusalCode}
    failures = {code(cell): final for cell, _, final in only("failure code", "meaning", "final")}
    assert failures == {reason.value: "yes" if reason in PERMANENT_FAILURES else "no" for reason in FailureCode}


def test_reasons_and_kinds() -> None:
    assert [code(cell) for cell, _ in only("reason", "when")] == [reason.value for reason in urls.Reason]
    kinds = {code(name): int(number) for number, name, *_ in only("kind", "name", "payload", "signed by")}
    assert kinds == {kind.name.lower(): kind.value for kind in Kind}


def listed(sentence: str) -> list[str]:
    return re.findall(r"`([^`]+)`", sentence)


def test_vocabularies() -> None:
    purposes, modes = re.search(r"`purpose` is one of ([^.]*)\. `mode` is one of ([^:]*):", PAGE).groups()  # type: ignore[union-attr]  # an AttributeError is a failure too
    assert (tuple(listed(purposes)), tuple(listed(modes))) == (get_args(Purpose), get_args(Mode))
    (encodings,) = re.search(r"or none: (.*) \(`x-gzip`", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert tuple(listed(encodings)) == get_args(ContentEncoding)
    (headers,) = re.search(r"one of the names (.*) and its value", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert tuple(listed(headers)) == RECORDED_HEADERS


def test_denied_blocks() -> None:
    (ipv4,) = re.search(r"Denied, IPv4: (.*)\.\n", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert listed(ipv4) == [str(block) for block in urls.IPV4_DENIED]
    (ipv6,) = re.search(r"is allowed, without (.*), and without interface", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert listed(ipv6) == [str(block) for block in urls.IPV6_DENIED]


def test_the_example() -> None:
    for name, key in (("root", ROOT), ("job", JOB_KEY), ("node", NODE)):
        assert re.search(rf"^{name} +{key.public}$", PAGE, re.MULTILINE)
    (payload,) = re.search(r"```json\n(.*)\n```", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert payload.encode() == JOB_STATEMENT.payload
    assert decode_canonical(payload.encode(), Job) == JOB
    (header,) = re.search(r"```text\n(02\n[0-9a-f\n]+)```", PAGE).groups()  # type: ignore[union-attr]  # as above
    assert bytes.fromhex(header) == JOB_STATEMENT.to_bytes()[:69]
    assert f"\n{JOB_STATEMENT.digest()}\n" in PAGE


def test_sections_that_the_code_cites_exist() -> None:
    headings = set(re.findall(r"^#+ ([0-9.]+?)\.? ", PAGE, re.MULTILINE))
    cited = set()
    for path in (REPOSITORY / "protocol").rglob("*.py"):
        for numbers in re.findall(r"PROTOCOL\.md, sections? ([0-9., and]+)", path.read_text()):
            cited |= set(re.findall(r"[0-9]+(?:\.[0-9]+)?", numbers))
    assert cited
    assert cited <= headings
    assert {str(number) for number in range(1, 12)} <= headings


def test_the_exported_schema_is_current() -> None:
    command = [sys.executable, "-m", "protocol.schema", "--check"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
