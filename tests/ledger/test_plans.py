"""How SQLite finds the rows of each of the ledger's statements: by a key or an index, never by reading a whole table."""

from __future__ import annotations

import importlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import CompoundSelect, Delete, Select, Update
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

MODULES = (
    "accounts",
    "audit_log",
    "batches",
    "conduct",
    "content",
    "crawl_growth",
    "crawls",
    "credits",
    "growth",
    "jobs",
    "keys",
    "leaders",
    "log",
    "nodes",
    "pages",
    "pruning",
    "results",
    "settlement",
    "tallies",
)
SMALL = frozenset(
    {"open_batches", "unsettled_batches", "credit_holds", "epochs", "checkpoints", "known", "found", "json_each"}
)
"""Tables of few rows, and lists that a caller gives."""
WHOLE = frozenset({"jobs._ALL_COUNTS", "credits._ALL_TOTALS"})
"""Sums over all batches and nodes."""
PARTS = frozenset(
    {
        "crawl_growth.CRAWLS",
        "crawls.CRAWLS",
        "crawls._ENDED_PAGES",
        "jobs._JOBS",
        "jobs._SHOWN",
        "credits._TOTALS",
        "pages._COMPLETED",
        "settlement._UNDER_WAY",
    }
)
"""What other statements are made of."""


def statements() -> Iterator[tuple[str, Any]]:
    for module in MODULES:
        for name, value in vars(importlib.import_module(f"dispatcher.adapters.sql_{module}")).items():
            found = value.values() if isinstance(value, dict) else [value]
            for statement in found:
                if (
                    isinstance(statement, Select | CompoundSelect | Update | Delete)
                    and f"{module}.{name}" not in PARTS | WHOLE
                ):
                    yield f"{module}.{name}", statement


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    from dispatcher.adapters.sqlite_engine import connect, driver, prepare

    path = Path(tmp_path_factory.mktemp("plans")) / "ledger.sqlite"
    opened = connect(path)
    prepare(opened, path)
    yield driver(opened)
    opened.close()


@pytest.mark.parametrize(("name", "statement"), [pytest.param(*found, id=found[0]) for found in statements()])
def test_a_statement_finds_its_rows_by_a_key(name: str, statement: Any, connection: sqlite3.Connection) -> None:
    compiled: SQLCompiler = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    given = {key: "[]" if key in {"ids", "teams", "prefixes"} else value or 1 for key, value in compiled.params.items()}
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {compiled}", given)]
    first_rows_of_an_index = " LIMIT " in str(compiled)
    for step in plan:
        scan = re.fullmatch(r"SCAN (\w+)( USING .*)?", step.split(" VIRTUAL TABLE")[0])
        if scan is not None and scan[1] not in SMALL:
            assert scan[2] is not None and first_rows_of_an_index, plan
