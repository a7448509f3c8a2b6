"""The part of Firefox's Marionette protocol (version 3) that the tests need.

A message is its length in ASCII digits, a colon, and JSON: `[0, id, command, parameters]` out, `[1, id, error, result]`
back. The server greets first.
"""

import json
import socket
from typing import Any

_ANSWER_S = 200.0
_SCRIPT_MS = 180_000
"""How long a script may take: the browser's own bound is 30 s."""


class MarionetteError(Exception):
    """The browser refused a command, or a script in it failed; `kind` is its code for why."""

    def __init__(self, command: str, kind: str, message: str) -> None:
        super().__init__(f"{command}: {kind}: {message}")
        self.kind = kind


class Marionette:
    """One connection with one session."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S)
        self._stream = self._socket.makefile("rb")
        self._last_id = 0
        self._receive()  # the greeting
        self.call("WebDriver:NewSession", acceptInsecureCerts=False, timeouts={"script": _SCRIPT_MS})

    def close(self) -> None:
        """Close the connection; the browser runs on."""
        self._stream.close()
        self._socket.close()

    def call(self, command: str, **parameters: object) -> Any:
        """Do one command; its result, out of its `value` where it has one."""
        self._last_id += 1
        text = json.dumps([0, self._last_id, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, answered, error, result = self._receive()
        assert answered == self._last_id, f"an answer to {answered}, not to {self._last_id}"
        if error is not None:
            raise MarionetteError(command, error["error"], error["message"])
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def script(self, body: str, *arguments: object) -> Any:
        """Run the body of an async function in the page; `arguments` are its arguments."""
        return self.call("WebDriver:ExecuteScript", script=_awaited(body), args=list(arguments), sandbox=None)

    def privileged(self, body: str, *arguments: object) -> Any:
        """Run the body of an async function in the browser itself."""
        self.call("Marionette:SetContext", value="chrome")
        try:
            return self.script(body, *arguments)
        finally:
            self.call("Marionette:SetContext", value="content")

    def _receive(self) -> Any:
        digits = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                raise ConnectionError("the browser closed the connection")
            digits += byte
        return json.loads(self._stream.read(int(digits)))


def _awaited(body: str) -> str:
    return f"return (async (...args) => {{ {body} }})(...arguments)"
