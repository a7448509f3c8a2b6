"""Nodes in SQL."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import insert_missing, update_rows
from dispatcher.adapters.sql_schema import nodes
from dispatcher.ledger import NodeLedger, NodeSeen

_STANDING = locked(select(nodes.c.node_key, nodes.c.last_seen_ms).where(ids_in(nodes.c.node_key)).order_by("node_key"))


class SqlNodes(NodeLedger):
    """The part of the ledger that keeps nodes."""

    _sql: SqlExecutor

    async def node_seen(self, node: NodeSeen) -> None:
        """See NodeLedger."""
        await self._sql.write(_nodes_seen, node)


def _nodes_seen(connection: Connection, seen: Sequence[NodeSeen]) -> list[None]:
    first = {node.node_key: node for node in reversed(seen)}
    newest = {node.node_key: node for node in seen}
    latest_ms: dict[str, int] = {}
    for node in seen:
        latest_ms[node.node_key] = max(node.last_seen_ms, latest_ms.get(node.node_key, 0))
    insert_missing(
        connection,
        nodes,
        [(key, node.wallet, node.agent, node.first_seen_ms, 0) for key, node in sorted(first.items())],
    )
    standing = connection.execute(_STANDING, {"ids": sorted(newest)})
    update_rows(
        connection,
        nodes,
        ("wallet", "agent", "last_seen_ms"),
        [
            (key, newest[key].wallet, newest[key].agent, max(last_seen_ms, latest_ms[key]))
            for key, last_seen_ms in standing
        ],
    )
    return [None] * len(seen)
