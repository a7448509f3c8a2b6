"""What log lines carry, and what none of them carries, whatever was passed to the logger."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from dispatcher.adapters.structured_logs import NODE_KEY_CHARS, processors, redact
from dispatcher.api_keys import make_key

KEY = make_key(bytes(range(39))).text
ROOT = Path(__file__).parents[2]


def line(**fields: object) -> dict[str, object]:
    """What an event becomes as JSON."""
    event: object = {"event": "something", **fields}
    for processor in processors("json"):
        event = processor(None, "info", event)  # type: ignore[arg-type]
    assert isinstance(event, str)
    found: dict[str, object] = json.loads(event)
    return found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://example.org/a?token=1#part", "https://example.org/a?[redacted]"),
        ("see https://example.org/a, then stop", "see https://example.org/a, then stop"),
        ("postgresql://me:secret@db:5432/meadow", "postgresql://[redacted]@db:5432/meadow"),
        (f"the key {KEY} is wrong", "the key mw_[redacted] is wrong"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"),
        ("a node at 93.184.216.34 left", "a node at [redacted] left"),
        ("a node at 2606:2800:220:1:248:1893:25c8:1946 left", "a node at [redacted] left"),
        ("redis on 127.0.0.1:6379 and 10.0.0.7", "redis on 127.0.0.1:6379 and 10.0.0.7"),
        ("at 12:30:05 version 1.2.3", "at 12:30:05 version 1.2.3"),
        ("https://example.org/?a=http://[2606:4700::1111]/", "https://example.org/?[redacted]"),
    ],
)
def test_texts_are_redacted(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_fields_made_for_secrets_and_addresses_lose_their_value() -> None:
    shown = line(remote="192.168.1.4", your_address="x", api_key="anything", nested={"password": "p", "n": 1})
    assert shown["remote"] == shown["your_address"] == shown["api_key"] == "[redacted]"
    assert shown["nested"] == {"password": "[redacted]", "n": 1}


def test_a_node_key_is_short_and_bytes_are_counted() -> None:
    shown = line(node_key="k" * 43, body=b"abc", urls=["http://example.org/?q=1"])
    assert shown["node_key"] == "k" * NODE_KEY_CHARS
    assert shown["body"] == "<3 bytes>"
    assert shown["urls"] == ["http://example.org/?[redacted]"]


def test_an_exceptions_text_is_redacted_too() -> None:
    try:
        raise ValueError(f"cannot fetch https://example.org/?key={KEY}")
    except ValueError as error:
        shown = line(exc_info=error)
    assert KEY not in str(shown)
    assert "key=" not in str(shown["exception"]).split("raise ValueError")[-1].splitlines()[-1]


async def test_what_is_bound_where_work_begins_is_on_every_line_of_it() -> None:
    async def work(job_id: str) -> dict[str, object]:
        structlog.contextvars.bind_contextvars(job_id=job_id, node_key="n" * 43)
        await asyncio.sleep(0)
        return line()

    lines = await asyncio.gather(*(asyncio.create_task(work(name)) for name in ("a", "b")))
    assert [(found["job_id"], found["node_key"]) for found in lines] == [("a", "n" * 10), ("b", "n" * 10)]
    assert "job_id" not in line()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_process_writes_lines_of_the_format_asked_for(log_format: str) -> None:
    code = (
        "import structlog; from dispatcher.adapters.structured_logs import configure_logs;"
        f"configure_logs({log_format!r}, dispatcher='d-1'); log = structlog.get_logger('x');"
        "log.debug('unseen'); log.info('seen', url='http://example.org/?q=1', job_id='j')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    (written,) = ran.stderr.splitlines()
    if log_format == "json":
        found = json.loads(written)
        assert (found["event"], found["dispatcher"], found["job_id"]) == ("seen", "d-1", "j")
        assert found["url"] == "http://example.org/?[redacted]"
    else:
        assert "event='seen'" in written
        assert "dispatcher='d-1'" in written
        assert "q=1" not in written
