"""A Redis server that each dispatcher reaches over a link of its own, which can be cut: network namespaces and veth pairs.

Needs root and `ip`. A cut takes the far end's address away: packets arrive and vanish, and nobody is told.
"""

import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.servers import RedisServer, ServerFailed, missing_redis

_LINKS = 2


def missing_namespaces() -> str | None:
    """Why no network namespace can be made here; None where one can."""
    if missing := missing_redis():
        return missing
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no program `ip`: install iproute2"
    name = f"meadow-probe-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"a network namespace cannot be made here: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Link:
    """One veth pair into a namespace: 10.B.C.1 here, 10.B.C.2 there."""

    def __init__(self, namespace: str, tag: str, number: int, network: str) -> None:
        self._namespace = namespace
        self._near, self._far = f"mw{tag}{number}", f"mx{tag}{number}"
        self._mac = f"02:{tag[:2]}:{tag[2:4]}:{tag[4:6]}:00:{number:02x}"
        self._here, self.address = f"{network}.{4 * number + 1}", f"{network}.{4 * number + 2}"

    def make(self) -> None:
        """Make it, both ends up."""
        peer = ("peer", "name", self._far, "address", self._mac, "netns", self._namespace)
        _ip("link", "add", self._near, "type", "veth", *peer)
        _ip("address", "add", f"{self._here}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        # Never asked for: a far end that is silent would otherwise be found out after seconds, and reported.
        _ip("neighbour", "replace", self.address, "lladdr", self._mac, "dev", self._near, "nud", "permanent")
        _ip("-n", self._namespace, "link", "set", self._far, "up")
        self.join()

    def cut(self) -> None:
        """Packets vanish from now on."""
        _ip("-n", self._namespace, "address", "flush", "dev", self._far)

    def join(self) -> None:
        """Packets pass again."""
        _ip("-n", self._namespace, "address", "replace", f"{self.address}/30", "dev", self._far)


class NamespacedRedis(RedisServer):
    """A server in a namespace of its own, with a link for each dispatcher."""

    def __init__(self, links: int = _LINKS) -> None:
        super().__init__(options={"appendonly": "yes", "appendfsync": "everysec", "bind": "0.0.0.0"})
        tag = secrets.token_hex(3)
        self._namespace = f"meadow-{tag}"
        network = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250) + 1}"
        self.links = [Link(self._namespace, tag, number, network) for number in range(links)]
        self.options["protected-mode"] = "no"  # nobody but the links' near ends, on this machine, can reach it
        self._made = False

    @property
    def url(self) -> str:
        """The address over the first link."""
        return self.url_over(0)

    def url_over(self, number: int) -> str:
        """The address over one of the links."""
        return f"redis://{self.links[number].address}:{self.port}/0"

    def start(self) -> Self:
        if not self._made:
            self._made = True
            _ip("netns", "add", self._namespace)
            _ip("-n", self._namespace, "link", "set", "lo", "up")
            for link in self.links:
                link.make()
        return super().start()

    def close(self) -> None:
        super().close()
        if self._made:
            self._made = False
            _ip("netns", "delete", self._namespace)

    def _command(self) -> list[str]:
        # `exec` in the namespace keeps the process's id: the guard's child is the server.
        return [str(Path(shutil.which("ip") or "ip")), "netns", "exec", self._namespace, *super()._command()]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.links[0].address, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
