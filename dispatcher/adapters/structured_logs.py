"""The log of a dispatcher: one line per event on standard error, for people (`console`) or for machines (`json`).

What every line may carry: `dispatcher`, and, where the work is for one of them, `job_id`, `batch_id`, `node_key` and
`session_id`. They are bound through context variables at the place where the work on a job or with a node begins.

What no line carries, whatever was passed to the logger: the query or the user part of a URL, an API key, the address
of a node, a whole node key. The processors below take them out of every value, of exceptions' texts too.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dispatcher.adapters.log_stream import open_log_stream

LogFormat = Literal["console", "json"]
NODE_KEY_CHARS = 10
"""How much of a node's key is written: enough to tell nodes of one network apart."""
REDACTED = "[redacted]"

_ADDRESS_FIELDS = frozenset({"address", "remote", "peer", "peername", "ip", "your_address", "x_forwarded_for"})
_SECRET_FIELDS = frozenset({"api_key", "authorization", "password", "secret", "token_secret", "key_text", "seed"})
_API_KEY = re.compile(r"\bmw_[a-z2-7]{12}_[A-Za-z0-9_-]{20,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20})://([^\s/?#'\"<>]*)([^\s?#'\"<>]*)(\?[^\s#'\"<>]*)?(#[^\s'\"<>]*)?", re.I)
_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?)(?![\w])",
    re.I,
)


def redact(text: str) -> str:
    """Take out of a text what no log line may carry: see the module."""
    if "mw_" in text:
        text = _API_KEY.sub(f"mw_{REDACTED}", text)
    if "://" in text:
        text = _URL.sub(_short_url, text)
    if " " in text:
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    if "." in text or ":" in text:
        text = _IP.sub(_masked_address, text)
    return text


def _short_url(found: re.Match[str]) -> str:
    scheme, authority, path, query, _ = found.groups()
    user, at, host = authority.rpartition("@")
    shown = f"{REDACTED}@{host}" if at and user else host
    return f"{scheme}://{shown}{path}{'?' + REDACTED if query else ''}"


def _masked_address(found: re.Match[str]) -> str:
    """Addresses of the public internet belong to nodes and sites; the operator's servers have others, or names."""
    try:
        address = ipaddress.ip_address(found.group())
    except ValueError:
        return found.group()
    return REDACTED if address.is_global else found.group()


def redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Redact every value of an event, at any depth; fields that are made for secrets or addresses lose their value."""
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


def _clean(name: str, value: object) -> object:
    if name in _ADDRESS_FIELDS or name in _SECRET_FIELDS:
        return REDACTED
    if isinstance(value, bool | int | float) or value is None:
        return value
    if name == "node_key":
        return str(value)[:NODE_KEY_CHARS]
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_clean(name, part) for part in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return redact(str(value))


def processors(log_format: LogFormat) -> list[Processor]:
    """Return the chain every event goes through, in order; the redaction comes after whatever adds text."""
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]
    if log_format == "json":
        return [*chain, structlog.processors.JSONRenderer(sort_keys=False, default=str)]
    return [*chain, structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)]


def configure_logs(log_format: LogFormat = "console", *, dispatcher: str | None = None) -> None:
    """Write logs of level info and above to standard error. `dispatcher` is this process's id, on every line."""
    structlog.configure(
        processors=processors(log_format),
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.WriteLoggerFactory(open_log_stream()),
    )
    structlog.contextvars.clear_contextvars()
    if dispatcher is not None:
        structlog.contextvars.bind_contextvars(dispatcher=dispatcher)
