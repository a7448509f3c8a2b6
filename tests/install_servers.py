"""Installs PostgreSQL and Redis where none is found: Debian's packages, as root. Tests start servers of their own.

Debian starts a server with each package. None is wanted here: no cluster is made (`create_main_cluster = false`), and
while packages are installed nothing is started (`policy-rc.d`), unless this machine has a policy of its own.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.server_programs import missing_postgres, missing_redis

_CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")
_POLICY = Path("/usr/sbin/policy-rc.d")
_START_NOTHING = "#!/bin/sh\nexit 101\n"


def main() -> int:
    """Find or install; the exit code is 0 in any case: tests without their server are skipped, and say so."""
    missing = {
        package: reason
        for package, reason in (("postgresql", missing_postgres()), ("redis-server", missing_redis()))
        if reason
    }
    if not missing:
        return 0
    if shutil.which("apt-get") and os.geteuid() == 0:
        failure = _install(list(missing))
    else:
        failure = "it takes Debian's apt-get and root"
    if failure or missing_postgres() or missing_redis():
        sys.stderr.write(
            f"Could not install {' and '.join(missing)} ({failure or 'their programs are not where they should be'}): "
            "tests on them will be skipped. Install them by hand.\n"
        )
    return 0


def _install(packages: list[str]) -> str | None:
    """Install packages and start nothing; what apt-get said last where it failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if "postgresql" in packages and not _CLUSTERS.exists():
        _CLUSTERS.parent.mkdir(parents=True, exist_ok=True)
        _CLUSTERS.write_text("create_main_cluster = false\n", encoding="ascii")
    with _nothing_starts():
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        done = subprocess.run(
            [
                *("apt-get", "install", "-y", "-qq", "--no-install-recommends"),
                # A configuration file that is there already is kept.
                *("-o", "Dpkg::Options::=--force-confold"),
                *packages,
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "apt-get failed")


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_START_NOTHING, encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
