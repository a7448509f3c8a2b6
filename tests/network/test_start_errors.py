"""`meadow up` with settings that cannot work: it ends with exit code 1, one clear message and nothing left behind."""

import os
from pathlib import Path

import pytest

from tests.network.processes import ROOT, Up, environment, quiet_port, run, still_alive
from tests.network.site import serving


def refused(tmp_path: Path, *arguments: str, data: Path | None = None, **settings: str) -> str:
    """Start a network that must not start; what it says."""
    up = Up(tmp_path / "refused", env={f"MEADOW_{name.upper()}": value for name, value in settings.items()})
    folder = str(data or up.data)
    ran = run(
        "dispatcher.cli", "up", "--data", folder, "--port", "0", "--nodes", "0", *arguments, env=up.env, timeout_s=20
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert still_alive(up.family(), timeout_s=10) == []
    return ran.stderr


def test_a_redis_that_is_not_there(tmp_path: Path) -> None:
    port = quiet_port()
    said = refused(tmp_path, redis_url=f"redis://:secret@127.0.0.1:{port}/0")
    assert "MEADOW_REDIS_URL" in said
    assert str(port) in said
    assert "secret" not in said


def test_a_redis_url_that_is_none(tmp_path: Path) -> None:
    said = refused(tmp_path, redis_url="localhost:6379")
    assert "MEADOW_REDIS_URL" in said
    assert "redis://" in said


def test_a_solana_that_is_not_there(tmp_path: Path) -> None:
    port = quiet_port()
    said = refused(tmp_path, solana_url=f"http://127.0.0.1:{port}")
    assert "MEADOW_SOLANA_URL" in said
    assert str(port) in said


def test_a_solana_that_is_a_web_site(tmp_path: Path) -> None:
    with serving() as site:
        said = refused(tmp_path, solana_url=site.url("/"))
    assert "MEADOW_SOLANA_URL" in said


def test_every_bad_setting_is_named_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, host_delay_ms="soon", max_nodes="0", log_origin="two words", drain_ms="-1")
    for name in ("MEADOW_HOST_DELAY_MS='soon'", "MEADOW_MAX_NODES='0'", "MEADOW_LOG_ORIGIN", "MEADOW_DRAIN_MS='-1'"):
        assert name in said


def test_a_test_site_that_is_no_host_and_port(tmp_path: Path) -> None:
    said = refused(tmp_path, "--allow-test-site", "127.0.0.1")
    assert "--allow-test-site" in said


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    said = refused(tmp_path, data=tmp_path / "file" / "data")
    assert str(tmp_path / "file") in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    assert str(tmp_path / "theirs") in refused(tmp_path, data=tmp_path / "theirs" / "data")


def test_a_ready_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    said = refused(tmp_path, "--ready-file", str(tmp_path / "file" / "ready.json"))
    assert "ready.json" in said


def test_the_environment_of_a_test_is_its_own() -> None:
    assert not [name for name in environment(ROOT) if name.startswith("MEADOW_")]
