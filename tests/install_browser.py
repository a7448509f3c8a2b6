"""Installs a Chromium and a Firefox where none is found: Debian's packages as root, else what Playwright brings.

`ip` (Debian's iproute2) comes with them: the extension's tests run both browsers in a network namespace of their own.
"""

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
FIREFOX_NAMES = ("firefox-esr", "firefox")
FIREFOX_APPLICATIONS = ("/Applications/Firefox.app/Contents/MacOS/firefox",)


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, None without one."""
    if found := _find(NAMES, APPLICATIONS):
        return found
    cache = Path.home() / ("Library/Caches/ms-playwright" if sys.platform == "darwin" else ".cache/ms-playwright")
    for pattern in (
        "chromium-*/chrome-linux*/chrome",
        "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
    ):
        for found_path in sorted(cache.glob(pattern)):
            return str(found_path)
    return None


def find_firefox() -> str | None:
    """Return the path of a Firefox on this machine, None without one."""
    return _find(FIREFOX_NAMES, FIREFOX_APPLICATIONS)


def _find(names: tuple[str, ...], applications: tuple[str, ...]) -> str | None:
    on_path = (shutil.which(name) for name in names)
    installed = (application for application in applications if Path(application).exists())
    return next((found for found in (*on_path, *installed) if found), None)


def main() -> int:
    """Find or install; the exit code says whether there is a Chromium now. Firefox is used where it is there."""
    missing = [
        package
        for package, is_there in (
            ("chromium", find_browser()),
            ("firefox-esr", find_firefox()),
            ("iproute2", shutil.which("ip") or sys.platform == "darwin"),
        )
        if not is_there
    ]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=False,
        )
    elif "chromium" in missing:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if not find_firefox():
        sys.stderr.write("No Firefox found: the extension's tests in it will be skipped.\n")
    if find_browser():
        return 0
    sys.stderr.write("No Chromium found and none could be installed; install one and run again.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
