"""Installs a Chromium when none is found: Debian's package as root, else the one Playwright brings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, None without one."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    for application in APPLICATIONS:
        if Path(application).exists():
            return application
    cache = Path.home() / ("Library/Caches/ms-playwright" if sys.platform == "darwin" else ".cache/ms-playwright")
    for pattern in (
        "chromium-*/chrome-linux*/chrome",
        "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
    ):
        for found_path in sorted(cache.glob(pattern)):
            return str(found_path)
    return None


def main() -> int:
    """Find or install; the exit code says whether there is a browser now."""
    if find_browser():
        return 0
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=False,
        )
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if find_browser():
        return 0
    sys.stderr.write("No Chromium found and none could be installed; install one and run again.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
