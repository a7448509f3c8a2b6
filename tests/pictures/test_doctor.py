"""What the doctor says of the browser, really there or really wrong; and what a start says."""

from pathlib import Path

import pytest

from dispatcher.adapters.probe_browser import probe_browser
from dispatcher.cli_parts import _camera
from dispatcher.doctor import Level, judge_browser
from dispatcher.errors import SetupError
from dispatcher.settings import read_settings
from tests.operations.doctor import Doctor
from tests.pictures.conftest import BROWSER, SANDBOX


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: run python -m tests.install_browser")
async def test_a_browser_that_takes_pictures_and_one_that_does_not(tmp_path: Path) -> None:
    works = await probe_browser(Path(str(BROWSER)), sandbox=SANDBOX)
    assert works.level is not Level.FAIL and "takes pictures" in works.says
    fails = await probe_browser(tmp_path / "nothing", sandbox=True)
    assert fails.level is Level.FAIL and "MEADOW_SCREENSHOT_BROWSER" in fails.fix


def test_the_doctor_looks_at_a_browser_that_is_configured(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    assert not any(check.name == "browser" for check in doctor.look().checks)
    check = doctor.check("browser", MEADOW_SCREENSHOT_BROWSER=str(tmp_path / "nothing"))
    assert check.level is Level.FAIL and str(tmp_path / "nothing") in check.says


def test_no_network_starts_with_a_browser_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_SCREENSHOT_BROWSER", "/nowhere/chromium")
    with pytest.raises(SetupError, match="/nowhere/chromium is no program that can be run"):
        _camera(read_settings())


@pytest.mark.parametrize(
    ("sandbox", "is_cut_off", "level", "said"),
    [
        (True, True, Level.OK, "in its sandbox and without a network"),
        (False, True, Level.WARN, "MEADOW_SCREENSHOT_SANDBOX"),
        (True, False, Level.WARN, "this machine's network"),
    ],
)
def test_weak_walls_are_named(sandbox: bool, is_cut_off: bool, level: Level, said: str) -> None:
    check = judge_browser("/usr/bin/chromium", "Chrome/1", None, sandbox=sandbox, is_cut_off=is_cut_off)
    assert check.level is level and said in check.says


def test_a_browser_is_named_by_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_SCREENSHOT_BROWSER", "chromium")
    with pytest.raises(SetupError, match="MEADOW_SCREENSHOT_BROWSER='chromium': it must be the whole path"):
        read_settings()
    monkeypatch.setenv("MEADOW_SCREENSHOT_BROWSER", "/usr/bin/chromium")
    settings = read_settings()
    assert settings.screenshot_browser == Path("/usr/bin/chromium") and settings.screenshot_sandbox
