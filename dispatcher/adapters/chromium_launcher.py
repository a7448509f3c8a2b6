"""Becomes a Chromium that cannot reach any network, as far as the system lets it: `python -m ... FD PROGRAM ARGS`.

On Linux the process takes a network namespace of its own, which has no device that is up, and is killed with its
parent. A first line on standard output says `{"network":"none"}` or `{"network":"shared"}`. FD is the socket of the
DevTools protocol, which the browser expects as descriptors 3 and 4.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_MOST_FILE_BYTES = 512 * 1024 * 1024
"""No file that the browser writes, its profile included, grows beyond this."""


def main() -> None:
    """Prepare this process, and become the program."""
    socket, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    has_own_network = sys.platform == "linux" and leave_network()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))
    sys.stdout.write(json.dumps({"network": "none" if has_own_network else "shared"}) + "\n")
    sys.stdout.flush()
    for number in (3, 4):
        # Where they are the same already, dup2 leaves it as it is: closed at exec, perhaps.
        os.dup2(socket, number)
        os.set_inheritable(number, True)
    if socket > 4:
        os.close(socket)
    os.execv(program, [program, *arguments])  # noqa: S606 (the program and arguments are the operator's and ours)


def leave_network() -> bool:
    """Move to a network namespace of one's own; False where the kernel does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return bool(libc.unshare(_CLONE_NEWNET) == 0)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


if __name__ == "__main__":
    main()
