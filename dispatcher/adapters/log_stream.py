"""Standard error as the place of log lines: a line that cannot be written is dropped, and nothing else happens.

A full disk or a closed pipe must not turn a logged warning into the end of the network.
"""

import contextlib
import io
import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STANDARD_ERROR = 2


class _Descriptor(io.RawIOBase):
    """Unbuffered: a buffer would keep what was refused and be refused again."""

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        with contextlib.suppress(OSError):
            os.write(_STANDARD_ERROR, data)
        return memoryview(data).nbytes


def open_log_stream() -> TextIO:
    """Return a stream whose writes never raise OSError."""
    return io.TextIOWrapper(io.BufferedWriter(_Descriptor()), "utf-8", "backslashreplace", write_through=True)
