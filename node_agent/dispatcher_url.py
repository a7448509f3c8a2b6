"""The address of a dispatcher: where to dial, and the audience its challenge must name (PROTOCOL.md, section 6)."""

import ipaddress
from dataclasses import dataclass

import ada_url

SESSION_PATH = "/v1/node"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@dataclass(frozen=True, slots=True)
class DispatcherUrl:
    """`url` is dialled; `audience` is its scheme and host as the Host header of the request says it."""

    url: str
    audience: str


def parse_dispatcher_url(text: str) -> DispatcherUrl:
    """Read what the owner gave; ValueError says what is wrong and what is expected.

    `http(s)://host[:port]` stands for `ws(s)://host[:port]/v1/node`. Without TLS only this machine is dialled.
    """
    expected = "a dispatcher is https://HOST[:PORT] or wss://HOST[:PORT]/v1/node"
    try:
        parsed = ada_url.URL(text)
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"{expected}; got {text[:200]!r}") from error
    scheme = _SCHEMES.get(parsed.protocol.removesuffix(":"))
    if scheme is None or not parsed.hostname or parsed.hostname.endswith("."):
        raise ValueError(f"{expected}; got {text[:200]!r}")
    if parsed.username or parsed.password or parsed.search or parsed.hash:
        raise ValueError(f"{expected}, without user name, query or fragment; got {text[:200]!r}")
    if parsed.protocol in ("http:", "https:") and parsed.pathname not in ("", "/"):
        raise ValueError(f"{expected}; an http address takes no path, got {parsed.pathname[:100]!r}")
    if scheme == "ws" and not _is_this_machine(parsed.hostname):
        raise ValueError(f"ws and http are spoken with this machine only; use https for {parsed.hostname!r}")
    path = parsed.pathname if parsed.pathname not in ("", "/") else SESSION_PATH
    return DispatcherUrl(f"{scheme}://{parsed.host}{path}", f"{scheme}://{parsed.host}")


def _is_this_machine(hostname: str) -> bool:
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname.strip("[]")).is_loopback
    except ValueError:
        return False
