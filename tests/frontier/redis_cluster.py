"""A cluster of three Redis-protocol servers, all its slots assigned here."""

import time
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.servers import RedisServer, ServerFailed

SLOTS = 16_384
_PATIENCE_S = 30.0
_ATTEMPTS = 5


class RedisCluster:
    """Three primaries without replicas. `url` is the address of one of them."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self.nodes: list[RedisServer] = []

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def _node(self) -> RedisServer:
        """Start a server. The port it speaks to other nodes on is not probed, so a taken one is met here."""
        for _ in range(_ATTEMPTS):
            node = RedisServer(binary=self._binary, options={"cluster-enabled": "yes", "cluster-node-timeout": "2000"})
            # Below the ports that systems give to outgoing connections.
            node.options["cluster-port"] = str(node.port - 10_000)
            try:
                return node.start()
            except ServerFailed:
                node.close()
        raise ServerFailed("no node of a cluster started")

    def client(self, number: int) -> Any:  # the client's commands are not typed
        return Redis.from_url(self.nodes[number].url, decode_responses=True, retry=Retry(NoBackoff(), 0))

    def start(self) -> Self:
        while len(self.nodes) < 3:
            self.nodes.append(self._node())
        clients = [self.client(number) for number in range(3)]
        for number, client in enumerate(clients):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.options["cluster-port"])
        for client in clients:
            client.close()
        self.wait_until_it_agrees()
        return self

    def wait_until_it_agrees(self) -> None:
        """Wait until every node serves its slots and knows the others."""
        clients = [self.client(number) for number in range(3)]
        deadline = time.monotonic() + _PATIENCE_S
        while not all(self._agrees(client) for client in clients):
            if time.monotonic() > deadline:
                raise ServerFailed("the nodes did not become a cluster")
            time.sleep(0.05)
        for client in clients:
            client.close()

    @staticmethod
    def _agrees(client: Any) -> bool:
        try:
            info = client.execute_command("CLUSTER", "INFO")
        except RedisError:
            return False
        text = info if isinstance(info, str) else "\n".join(f"{name}:{value}" for name, value in info.items())
        return "cluster_state:ok" in text and "cluster_known_nodes:3" in text

    def move_slot(self, key: str) -> None:
        """Give the slot of a key that is not there yet to another node, in one step."""
        slot = key_slot(key.encode())
        owner = next(number for number in range(3) if slot < SLOTS * (number + 1) // 3)
        clients = [self.client(number) for number in range(3)]
        identity = clients[(owner + 1) % 3].execute_command("CLUSTER", "MYID")
        if clients[owner].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot):
            for left in clients[owner].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                clients[owner].delete(left)
        for client in (clients[(owner + 1) % 3], clients[owner], clients[(owner + 2) % 3]):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", identity)
        for client in clients:
            client.close()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
