"""What must hold of a network's data once it is at rest, checked from the outside: ledger, public log and chain."""

import asyncio
import itertools
import re
import sqlite3
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from dispatcher.adapters.sql_audit import broken_invariants_of
from provenance.adapters.local_tiles import LocalTiles
from provenance.adapters.solana_audit import SolanaAudit
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_token import token_balances
from provenance.checkpoint import open_checkpoint, parse_vkey
from provenance.log_info import LOG_INFO_PATH, decode_log_info
from provenance.log_writer import CHECKPOINT_PATH
from provenance.merkle import leaf_hash, root_of
from provenance.tiles import TILE_WIDTH, TileTree

LEDGER = "ledger.sqlite3"


class View(ABC):
    """Reads a ledger that may be in use, at `url`."""

    url: str

    @abstractmethod
    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query that both databases understand, its values marked by `?`."""

    def broken(self) -> list[str]:
        """The invariants it breaks."""
        with ThreadPoolExecutor(1) as outside:  # the caller's thread may have a loop of its own
            return outside.submit(asyncio.run, broken_invariants_of(self.url)).result()

    def number(self, query: str, *values: object) -> int:
        ((value,),) = self.rows(query, *values)
        return int(value)

    def open_jobs(self) -> int:
        """Jobs that have not ended."""
        return self.number("SELECT count(*) FROM jobs WHERE state IN ('queued', 'fetched')")

    def at_rest(self) -> bool:
        """Every job ended, every entry under an anchored checkpoint, every credit paid."""
        return (
            self.open_jobs() == 0
            and self.number("SELECT count(*) FROM log_entries")
            == self.number("SELECT coalesce(max(size), 0) FROM checkpoints WHERE anchor_signature IS NOT NULL")
            and self.number("SELECT count(*) FROM credits WHERE state IN ('pending', 'confirmed')") == 0
            and self.number("SELECT count(*) FROM epochs WHERE paid_ms IS NULL") == 0
        )


class LedgerView(View):
    """Reads a ledger's file."""

    def __init__(self, data: Path) -> None:
        self.path = data / LEDGER
        self.url = f"sqlite:///{self.path}"

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()


class PostgresView(View):
    """Reads a ledger in PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        numbers = itertools.count(1)
        numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", query)

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(numbered, *values)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as outside:  # the caller's thread may have a loop of its own
            return outside.submit(asyncio.run, ask()).result()


def ledger_problems(ledger: View, accepted: dict[str, int]) -> list[str]:
    """Check the ledger alone: accepted batches, terminal states, single credits, anchor sequence."""
    problems = []
    counts = dict(ledger.rows("SELECT batch_id, count(*) FROM jobs GROUP BY batch_id"))
    problems += [
        f"accepted batch {batch_id} has {counts.get(batch_id, 0)} jobs, not {pages}"
        for batch_id, pages in accepted.items()
        if counts.get(batch_id) != pages
    ]
    for what, query in (
        ("jobs stuck", "SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'refused', 'failed', 'cancelled')"),
        ("jobs credited twice", "SELECT count(*) - count(DISTINCT job_id) FROM credits"),
        ("log entries credited twice", "SELECT count(*) - count(DISTINCT log_index) FROM credits"),
        (
            "completed jobs without a result",
            "SELECT count(*) FROM jobs LEFT JOIN results USING (job_id) WHERE state = 'completed' AND log_index IS NULL",
        ),
        (
            "gaps in the anchor sequence",
            "SELECT coalesce(max(anchor_sequence) + 1 - count(DISTINCT anchor_sequence), 0) FROM checkpoints",
        ),
        ("checkpoints without an anchor", "SELECT count(*) FROM checkpoints WHERE anchor_signature IS NULL"),
        (
            "credits not conserved",
            "SELECT (SELECT coalesce(sum(amount), 0) FROM credits)"
            " - (SELECT coalesce(sum(pending + confirmed + void + paid), 0) FROM node_totals)",
        ),
    ):
        if number := ledger.number(query):
            problems.append(f"{what}: {number}")
    problems += [
        f"jobs failed: {number} as {reason!r}, after {attempts} attempts, the last one: {detail}"
        for reason, attempts, detail, number in ledger.rows(
            "SELECT reason, attempts, detail, count(*) FROM jobs WHERE state = 'failed' GROUP BY 1, 2, 3 ORDER BY 4 DESC"
        )
    ]
    return problems


async def log_problems(log: Path, ledger: View) -> list[str]:
    """Check that the public log holds the ledger's entries, byte for byte, under its signed checkpoint."""
    files = LocalTiles(log)
    info_bytes, note = await files.read(LOG_INFO_PATH), await files.read(CHECKPOINT_PATH)
    if info_bytes is None or note is None:
        return ["the public log has no checkpoint"]
    head = open_checkpoint(note, log_key=parse_vkey(decode_log_info(info_bytes).vkey)).checkpoint
    tree = TileTree(files, head.size)
    published = [
        entry for number in range((head.size + TILE_WIDTH - 1) // TILE_WIDTH) for entry in await tree.bundle(number)
    ]
    kept = ledger.rows("SELECT log_index, statement FROM log_entries ORDER BY log_index")
    problems = []
    if [index for index, _ in kept] != list(range(len(kept))):
        problems.append("log indexes have gaps")
    if published != [statement for _, statement in kept]:
        problems.append(f"the public log has {len(published)} entries, the ledger {len(kept)}, or they differ")
    if not root_of([leaf_hash(entry) for entry in published]) == await tree.root() == head.root:
        problems.append("entries, tiles and checkpoint have different roots")
    return problems


async def chain_problems(log: Path, ledger: View, solana_url: str) -> list[str]:
    """Compare the chain with the ledger: one anchor a checkpoint, in sequence; each wallet's tokens are its credits."""
    info_bytes = await LocalTiles(log).read(LOG_INFO_PATH)
    assert info_bytes is not None
    info = decode_log_info(info_bytes)
    expected = dict(ledger.rows("SELECT anchor_sequence, size FROM checkpoints"))
    paid = {
        str(wallet): int(amount)
        for wallet, amount in ledger.rows(
            "SELECT wallet, sum(amount) FROM credits WHERE state = 'paid' GROUP BY wallet"
        )
    }
    problems = []
    async with SolanaRpc.connect(solana_url) as rpc:
        anchors = [each for each in await SolanaAudit(rpc).anchors(info.anchor_address) if not each.harmless]
        problems += [f"anchor {each.signature}: {each.fault}" for each in anchors if each.anchor is None]
        seen = sorted((each.anchor.sequence, each.anchor.size) for each in anchors if each.anchor is not None)
        if seen != sorted(expected.items()):
            problems.append(f"{len(seen)} anchors on the chain do not match {len(expected)} checkpoints")
        balances = await token_balances(rpc, info.mint, list(paid))
    problems += [
        f"wallet {wallet} has {balances.get(wallet)} tokens, its paid credits are {amount}"
        for wallet, amount in paid.items()
        if balances.get(wallet) != amount
    ]
    return problems
