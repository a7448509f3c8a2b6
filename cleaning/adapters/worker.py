"""A worker process: pages in on standard input, documents out on standard output.

Run by `worker_pool` as `python -m cleaning.adapters.worker MEMORY_BYTES CPU_SECONDS`. It lives until its input ends, so
it never outlives the process that started it; busy in a parser at that moment, it is ended by its CPU limit.
"""

import logging
import os
import signal
import sys
from typing import BinaryIO

from cleaning.adapters.worker_frames import (
    EXIT_OUT_OF_MEMORY,
    LENGTH_BYTES,
    Answer,
    Page,
    Ready,
    decode_page,
    to_frame,
)
from cleaning.page_links import read_links
from cleaning.pipeline import to_document
from cleaning.site_map import read_site_map

if sys.platform != "win32":
    import resource

_WARM_UP = (
    b"<!doctype html><html lang=en><head><title>Warm</title></head><body><article><h1>Warm</h1>"
    b"<p>The first page loads the models and tables that every later page uses.</p></article></body></html>"
)


def main() -> None:
    """Answer pages until the input ends."""
    memory_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    # The protocol keeps the real standard output; anything a library prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        limited = _limit(memory_bytes)
        to_document(_WARM_UP, url="https://example.org/", content_type="text/html")
        _send(answers, to_frame(Ready(limited)))
        while (payload := _receive(sys.stdin.buffer)) is not None:
            page = decode_page(payload)
            _limit_cpu(cpu_seconds)
            _send(answers, to_frame(_answer(page)))
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except BrokenPipeError:
        os._exit(0)


def _answer(page: Page) -> Answer:
    if page.reads == "links":
        return read_links(page.body, url=page.url, content_type=page.content_type)
    if page.reads == "site_map":
        return read_site_map(page.body, url=page.url)
    return to_document(page.body, url=page.url, content_type=page.content_type, wants=page.wants)


def _limit(memory_bytes: int) -> bool:
    """Limit the address space; also no core files and no file writes. False where the system has no such limit."""
    if sys.platform == "win32":
        return False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (ValueError, OSError):
        return False
    return True


def _limit_cpu(seconds: int) -> None:
    """Allow this much more CPU time before SIGXCPU ends the process."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _receive(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    payload = stream.read(size)
    return payload if len(payload) == size else None


def _send(stream: BinaryIO, frame: bytes) -> None:
    stream.write(frame)
    stream.flush()


if __name__ == "__main__":
    main()
