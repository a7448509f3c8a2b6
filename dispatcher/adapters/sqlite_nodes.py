"""Nodes in SQLite."""

import sqlite3
from collections.abc import Sequence

import msgspec

from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.ledger import NodeLedger, NodeSeen


class SqliteNodes(NodeLedger):
    """The part of the ledger that keeps nodes."""

    _writer: SqliteWriter

    async def node_seen(self, node: NodeSeen) -> None:
        """See NodeLedger."""
        await self._writer.write(_nodes_seen, node)


def _nodes_seen(connection: sqlite3.Connection, nodes: Sequence[NodeSeen]) -> list[None]:
    connection.executemany(
        "INSERT INTO nodes (node_key, wallet, agent, first_seen_ms, last_seen_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (node_key) DO UPDATE SET wallet = excluded.wallet, agent = excluded.agent,"
        " last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)",
        map(msgspec.structs.astuple, nodes),
    )
    return [None] * len(nodes)
