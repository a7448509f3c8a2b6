"""moto's S3 server, as a process of its own: the S3 protocol over real sockets. It keeps its objects in memory."""

import http.client
import os
import shutil
import sys
from dataclasses import dataclass, field
from itertools import count

from dispatcher.store_location import StoreLocation, parse_location
from tests.servers import Server

_numbers = count(1)


@dataclass
class Bucket:
    """A bucket of a server."""

    server: "S3Server"
    name: str
    variables: dict[str, str] = field(default_factory=dict)

    def location(self, prefix: str = "meadow", **changed: str) -> StoreLocation:
        return parse_location(f"s3://{self.name}/{prefix}", self.server.variables | self.variables | changed)


class S3Server(Server):
    """The server. With `strict` it wants keys that it knows, and knows none."""

    name = "s3"

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__(None, None, "")
        self._strict = strict

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
        }

    def bucket(self) -> Bucket:
        """Make a bucket."""
        bucket = Bucket(self, f"bucket-{next(_numbers)}")
        assert self._put(f"/{bucket.name}") == 200
        return bucket

    def _put(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("PUT", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        env = shutil.which("env") or "/usr/bin/env"
        strict = ["INITIAL_NO_AUTH_ACTION_COUNT=0"] if self._strict else []
        arguments = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        return [env, *strict, f"PATH={os.environ['PATH']}", sys.executable, *arguments]

    def _answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
        except OSError:
            return False
        return True
