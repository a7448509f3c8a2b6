"""The guard of an embedded server: a small process that ends the server when the process that wanted it is gone.

Run by path, with the standard library only: `python -I -S embedded_valkey_guard.py SERVER CONFIG LOCK PARENT`, PARENT
being the parent's process id. Its standard input is a pipe whose other end only the parent holds: when the pipe closes
(the parent stopped, or was killed with signal 9) the guard stops the server gracefully and ends. It also looks every
second who its parent is, for a parent whose forked children still hold the pipe. The guard lives in a session of its
own, so that Ctrl-C in the parent's terminal reaches neither it nor the server.

The guard and the server hold a lock on the file LOCK for as long as either lives. A server that crashes is started
again; one that ends five times within two seconds of its start is given up.

Exit status: 0 stopped as asked, 1 the server could not start or kept crashing, 3 the lock is held by another.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_POLL_S = 1.0
_GRACE_S = 10.0
_SHORT_LIFE_S = 2.0
_MOST_SHORT_LIVES = 5
_PAUSE_S = 0.2


def _parent_is_gone(parent: int, wait_s: float) -> bool:
    readable, _, _ = select.select([0], [], [], wait_s)
    return bool(readable and not os.read(0, 4096)) or os.getppid() != parent


def _signals() -> int:
    """Let SIGTERM and SIGCHLD arrive as bytes on a pipe, so that they wake select(); its reading end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return reading


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _must_stop(server: "subprocess.Popen[bytes]", parent: int, signals: int) -> bool:
    """Wait until the server ended by itself (False), or must end: the parent is gone, or SIGTERM came (True)."""
    while server.poll() is None:
        readable, _, _ = select.select([0, signals], [], [], _POLL_S)
        if signals in readable and signal.SIGTERM in os.read(signals, 4096):
            return True
        if _parent_is_gone(parent, 0):
            return True
    return False


def guard(binary: str, config: str, lock_path: str, parent: int) -> int:
    """Run the server until the parent is gone; returns the exit status."""
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 3
    signals = _signals()
    short_lives = 0
    while True:
        started = time.monotonic()
        server = subprocess.Popen(  # noqa: S603 - the binary and its configuration are chosen by the parent process
            [binary, config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=str(Path(config).parent),
            pass_fds=(lock,),
        )
        if _must_stop(server, parent, signals):
            _stop(server)
            return 0
        short_lives = short_lives + 1 if time.monotonic() - started < _SHORT_LIFE_S else 0
        if short_lives == _MOST_SHORT_LIVES:
            return 1
        if _parent_is_gone(parent, _PAUSE_S):
            return 0


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
