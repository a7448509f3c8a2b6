"""Ends a test's server when the test is gone, however it went.

Run by path, with the standard library only: `python -I -S server_guard.py STOP_SIGNAL USER FOLDER LOG BINARY ARGUMENT...`.
It starts the server as USER (an empty name: as itself), with its output in LOG, and writes the server's process id and
a newline to its standard output.

Its standard input is a pipe whose other end only the test holds. `stop` on it ends the server in order, and then the
guard; the end of the pipe alone means that the test was killed: the server is ended at once and FOLDER, where it is
not empty, is removed. Guard and server live in a session of their own, so Ctrl-C reaches neither. A guard that is
killed takes the server with it (Linux).

Exit status: that of the server, or 128 and the number of the signal that ended it.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_GRACE_S = 20.0
_QUIT_S = 8.0


def _die_with_the_guard() -> None:
    """In the server, once it is of its own user: a change of user would take the signal back."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(server: "subprocess.Popen[bytes]", how: list[tuple[signal.Signals, float]]) -> None:
    for number, wait_s in how:
        server.send_signal(number)
        server.send_signal(signal.SIGCONT)
        try:
            server.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        return


def guard(stop_signal: int, user: str, folder: str, log: str, command: list[str]) -> int:
    """Run a server until it ends, is to be stopped, or the test is gone."""
    ended, child_ended = os.pipe()
    os.set_blocking(child_ended, False)
    signal.set_wakeup_fd(child_ended)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    with open(log, "ab") as output:  # noqa: PTH123 (starts in milliseconds: no pathlib)
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user or None,
            group=_group_of(user),
            extra_groups=[] if user else None,
            preexec_fn=_die_with_the_guard,  # noqa: PLW1509 (the guard has one thread)
            start_new_session=True,
        )
    os.write(1, b"%d\n" % server.pid)
    while server.poll() is None:
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            os.read(ended, 512)  # a server that was paused tells of itself too, and lives on
        if 0 not in readable:
            continue
        if os.read(0, 16):
            _end(server, [(signal.Signals(stop_signal), _GRACE_S), (signal.SIGQUIT, _QUIT_S), (signal.SIGKILL, 60)])
        else:
            _end(server, [(signal.SIGQUIT, _QUIT_S), (signal.SIGKILL, 60)])
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
    status = server.wait()
    return status if status >= 0 else 128 - status


def _group_of(user: str) -> int | None:
    if not user:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
