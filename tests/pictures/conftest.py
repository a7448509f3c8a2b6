"""The camera on a real Chromium; without a sandbox of its own where the tests run as root."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.adapters.chromium_camera import ChromiumCamera
from tests.install_browser import find_browser

BROWSER = find_browser()
SANDBOX = os.geteuid() != 0
PICTURE_MS = 60_000


def new_camera(*, picture_ms: int = PICTURE_MS, memory_bytes: int = 1 << 34) -> ChromiumCamera:
    if BROWSER is None:
        pytest.skip("there is no Chromium: run python -m tests.install_browser")
    return ChromiumCamera(Path(BROWSER), sandbox=SANDBOX, picture_ms=picture_ms, memory_bytes=memory_bytes)


@pytest.fixture
async def camera() -> AsyncIterator[ChromiumCamera]:
    built = new_camera()
    yield built
    await built.close()
