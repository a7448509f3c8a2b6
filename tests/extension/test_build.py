"""What is shipped: small, the same bytes from the same sources, no code from outside, and no permission unexplained."""

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.extension.sharer import DIST
from tests.network.processes import ROOT

EXTENSION = ROOT / "extension"
NAMES = ("chrome", "firefox")
LARGEST_BYTES = 120_000

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no node"),
    pytest.mark.skipif(not (DIST / "meadow-chrome.zip").exists(), reason="not built: run make extension"),
    pytest.mark.timeout(600),
]


def shipped(name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(DIST / f"meadow-{name}.zip")


def texts(name: str) -> dict[str, str]:
    """Every file of an archive that is text."""
    with shipped(name) as archive:
        return {
            entry: archive.read(entry).decode() for entry in archive.namelist() if not entry.endswith((".png", ".svg"))
        }


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=EXTENSION, check=True, capture_output=True)
    for name in NAMES:
        built, shipped = (folder / f"meadow-{name}.zip" for folder in (tmp_path, DIST))
        assert built.read_bytes() == shipped.read_bytes(), (
            "not the same, or dist/ is of other sources: run make extension"
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_archive_is_small_and_is_what_the_browsers_are_tried_with(name: str) -> None:
    assert (DIST / f"meadow-{name}.zip").stat().st_size < LARGEST_BYTES
    with shipped(name) as archive:
        assert archive.testzip() is None
        unpacked = {str(path.relative_to(DIST / name)) for path in (DIST / name).rglob("*") if path.is_file()}
        assert set(archive.namelist()) == unpacked
        assert archive.namelist() == sorted(unpacked)
        assert all(archive.read(entry) == (DIST / name / entry).read_bytes() for entry in unpacked)


@pytest.mark.parametrize("name", NAMES)
def test_every_permission_is_explained(name: str) -> None:
    manifest = json.loads(texts(name)["manifest.json"])
    asked = {*manifest["permissions"], *manifest["optional_host_permissions"]}
    page = (ROOT / "docs" / "extension.md").read_text()
    explained = {
        permission for row in re.findall(r"^\| (`.+?) \|", page, re.M) for permission in re.findall(r"`(.+?)`", row)
    }
    assert asked <= explained
    assert "host_permissions" not in manifest
    assert "content_scripts" not in manifest


def test_no_permission_is_explained_that_nobody_asks_for() -> None:
    asked: set[str] = set()
    for name in NAMES:
        manifest = json.loads(texts(name)["manifest.json"])
        asked |= {*manifest["permissions"], *manifest["optional_host_permissions"]}
    page = (ROOT / "docs" / "extension.md").read_text()
    table = page.partition("## Permissions, one by one")[2].partition("\n\n")[2].partition("\n\n")[0]
    explained = {
        permission for row in table.splitlines()[2:] for permission in re.findall(r"`(.+?)`", row.split("|")[1])
    }
    assert explained == asked


@pytest.mark.parametrize("name", NAMES)
def test_no_code_and_no_address_from_outside(name: str) -> None:
    network = json.loads((EXTENSION / "network.json").read_text())
    known = {network["dispatcher"], "https://meadow.example", "http://www.w3.org", "http://224.0.0.1"}
    for entry, text in texts(name).items():
        if not entry.endswith((".js", ".html", ".css")):
            continue
        assert not re.search(r"\beval\(|new Function\(|importScripts\(|innerHTML|document\.write", text), entry
        hosts = set(re.findall(r"https?://[a-z0-9.-]+\.[a-z0-9-]+", text)) - known
        assert all(re.fullmatch(r"https?://([a-z]+\.)?example\.org", host) for host in hosts), f"{entry}: {hosts}"
