"""A killed dispatcher, two dispatchers, other processes, other schema versions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.sql_ledger import SqlLedger, open_beside, open_sqlite_ledger
from dispatcher.errors import LedgerError, SetupError
from dispatcher.jobs import ApiKey

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

ROOT = Path(__file__).parents[2]
ROUNDS = 5
SAID_BYTES = 10_000
"""More than all workers say before the second result of one of them is stored."""


def start_writing(path: Path, seed: int, output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("store_until_killed.py")), str(path), str(seed)],
            stdout=file,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def acknowledged(output: Path) -> list[list[str]]:
    text = output.read_text()
    return [line.split(" ") for line in text[: text.rfind("\n") + 1].splitlines()]


def kill_under_load(path: Path, seed: int, output: Path) -> list[list[str]]:
    process = start_writing(path, seed, output)
    try:
        deadline = time.monotonic() + 30
        while output.stat().st_size < SAID_BYTES and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0, 0.5))
        process.kill()
    finally:
        process.kill()
        process.wait()
    return acknowledged(output)


@pytest.mark.faults
async def test_kill_at_any_moment_loses_nothing_acknowledged(ledger_path: Path, tmp_path: Path) -> None:
    said: list[list[str]] = []
    for seed in range(1, ROUNDS + 1):
        lines = await asyncio.to_thread(kill_under_load, ledger_path, seed, tmp_path / f"said-{seed}")
        assert len(lines) > 20
        said += lines
        ledger = await open_sqlite_ledger(ledger_path)
        by_word = {word: [line for line in said if line[0] == word] for word in {line[0] for line in said}}
        assert "wrong" not in by_word
        stored = {line[1]: int(line[2]) for line in by_word["stored"]}
        found = await ledger.results(list(stored))
        assert {job_id: result.log_index for job_id, result in found.items()} == stored
        assert set(await ledger.credits_of(list(stored))) == set(stored)
        batches = [line[1] for line in by_word["batch"]]
        assert set(await ledger.job_options(batches)) == set(batches)
        entries = {entry.statement for entry in await ledger.entries(0, await ledger.log_size())}
        assert {line[1].encode() for line in by_word.get("appended", [])} <= entries
        completed = [line[1] for line in by_word.get("completed", [])]
        assert {job.state.value for job in await ledger.jobs(completed)} <= {"completed"}
        conducts = (await ledger.conducts([f"node-{n}" for n in range(5)])).values()
        with contextlib.closing(sqlite3.connect(ledger_path)) as file:
            [(ends, rejected)] = file.execute(
                "SELECT count(*), sum(ending = 'rejected') FROM lease_ends JOIN jobs USING (job_id) WHERE position = 3"
            )
            [(fetched_elsewhere, waiting)] = file.execute(
                "SELECT sum(log_index IS NOT NULL), sum(ending IS NOT NULL) FROM jobs LEFT JOIN results USING (job_id)"
                " LEFT JOIN lease_ends USING (job_id) WHERE position = 1"
            )
        assert ends >= len(by_word["ended"])
        assert sum(conduct.rejected for conduct in conducts) == rejected == ends
        assert sum(conduct.failed_alone for conduct in conducts) == fetched_elsewhere > 0
        assert sum(conduct.fruitless for conduct in conducts) == ends + fetched_elsewhere + waiting
        await ledger.close()
        assert broken_invariants(ledger_path) == []


async def test_a_second_dispatcher_is_refused_until_the_first_has_ended(ledger_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "said"
    process = start_writing(ledger_path, 1, output)
    try:
        while output.stat().st_size == 0:
            assert process.poll() is None
            await asyncio.sleep(0.01)
        with pytest.raises(SetupError, match=f"another dispatcher \\(process {process.pid}\\) uses .*data"):
            await open_sqlite_ledger(ledger_path)
    finally:
        process.kill()
        process.wait()
    await (await open_sqlite_ledger(ledger_path)).close()


async def test_one_process_opens_a_ledger_once(sqlite_ledger: SqlLedger, ledger_path: Path) -> None:
    with pytest.raises(SetupError, match="open already"):
        await open_sqlite_ledger(ledger_path)


async def add_beside(path: Path, key: ApiKey) -> None:
    """Add a key as an operator's command does."""
    ledger = await open_beside(f"sqlite:///{path}")
    try:
        await ledger.add_key(key)
    finally:
        await ledger.close()


async def test_another_process_adds_a_key_while_the_dispatcher_writes(
    ledger_path: Path, tmp_path: Path, rows: Rows
) -> None:
    key, first = rows.key(), rows.key()
    ledger_path.parent.mkdir()
    await add_beside(ledger_path, first)
    output = tmp_path / "said"
    process = start_writing(ledger_path, 1, output)
    try:
        while output.stat().st_size < 500:
            assert process.poll() is None
            await asyncio.sleep(0.01)
        await add_beside(ledger_path, key)
        with pytest.raises(LedgerError, match="refused a write"):
            await add_beside(ledger_path, key)
        size = output.stat().st_size
        while output.stat().st_size == size:
            assert process.poll() is None
            await asyncio.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    ledger = await open_sqlite_ledger(ledger_path)
    assert await ledger.keys_with_prefix(key.prefix) == [key, first]
    await ledger.close()


async def test_a_newer_schema_is_refused_by_name(ledger_path: Path) -> None:
    await (await open_sqlite_ledger(ledger_path)).close()
    with contextlib.closing(sqlite3.connect(ledger_path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer Meadow"):
        await open_sqlite_ledger(ledger_path)


async def test_files_that_are_no_ledger_are_refused_and_left_alone(ledger_path: Path) -> None:
    ledger_path.parent.mkdir()
    ledger_path.write_bytes(b"not a database, but a text of some length " * 100)
    before = ledger_path.read_bytes()
    with pytest.raises(LedgerError, match="not an SQLite database"):
        await open_sqlite_ledger(ledger_path)
    assert ledger_path.read_bytes() == before
    ledger_path.unlink()
    connection = sqlite3.connect(ledger_path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(LedgerError, match="not a Meadow ledger"):
        await open_sqlite_ledger(ledger_path)
