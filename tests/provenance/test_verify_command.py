"""`meadow-verify` as its users meet it: what it prints, what it takes, and how it exits."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.keys import from_base64url
from provenance.audit_report import ROW_STEPS

Verify = Callable[..., Any]


def flip(path: Path, position: int) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x01
    path.write_bytes(data)


def change_line(path: Path, number: int, old: str, new: str) -> None:
    """Replace a piece of one line."""
    lines = path.read_text().split("\n")
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    path.write_text("\n".join(lines))


def test_the_text_report_shows_steps_rows_summary_and_the_simulator(
    pristine: Any, solana_url: str, verify: Verify
) -> None:
    run = verify("dataset", pristine.dataset, "--log", pristine.log, "--solana", solana_url, "--rows", 3)
    assert run.code == 0
    for expected in (
        *ROW_STEPS,
        "SIMULATOR",
        "NOT CHECKED",
        "RESULT: nothing failed",
        "https://site.example/2",
        "--log-key",
    ):
        assert expected in run.output
    assert "https://site.example/3 " not in run.output


@pytest.mark.parametrize("form", ["binary", "base64url", "row"])
def test_one_record_in_every_form(network: Any, solana_url: str, verify: Verify, form: str) -> None:
    line = (network.dataset / "data.jsonl").read_bytes().splitlines()[3]
    record = json.loads(line)["provenance"]["record"]
    file = network.folder / "one"
    file.write_bytes(
        {"binary": from_base64url(record), "base64url": record.encode() + b"\n", "row": line + b"\n"}[form]
    )
    run = verify("record", file, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 0, run.output
    [row] = json.loads(run.output)["report"]["rows"]
    assert row["log_index"] == 3
    assert [step["outcome"] for step in row["steps"]][1:5] == ["OK"] * 4
    alone = verify("record", file, "--json")
    assert alone.code == 0
    flip(file, 90 if form != "row" else line.index(record.encode()) + 120)
    assert verify("record", file, "--json").code == 1


def test_one_file_of_a_dataset(pristine: Any, verify: Verify) -> None:
    run = verify("dataset", pristine.dataset / "data.parquet", "--log", pristine.log, "--rows", 2)
    assert run.code == 0, run.output
    assert "only data.parquet was audited" in run.output


def test_unusable_input_is_told_apart_from_failure(pristine: Any, tmp_path: Path, verify: Verify) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    dataset, log = pristine.dataset, pristine.log
    for arguments, expected in (
        (("dataset", tmp_path / "absent", "--log", log), "does not exist"),
        (("dataset", tmp_path / "empty", "--log", log), "is not a dataset"),
        (("dataset", tmp_path / "notes.txt", "--log", log), "is not a dataset"),
        (("dataset", dataset, "--log", tmp_path / "absent"), "does not exist"),
        (("dataset", dataset, "--log", tmp_path / "empty"), "not a Meadow log"),
        (("dataset", dataset, "--log", "http://127.0.0.1:9/"), "cannot be read"),
        (("dataset", dataset, "--log", "ftp://127.0.0.1/"), "not the address of a log"),
        (("dataset", dataset, "--log", log, "--solana", "http://127.0.0.1:9"), "http://127.0.0.1:9"),
        (("dataset", dataset, "--log", log, "--solana", "nonsense"), "http://"),
        (("dataset", dataset, "--log", log, "--log-key", "nonsense"), "not a note key"),
        (("dataset", dataset, "--log", log, "--bodies", tmp_path / "absent"), "not a folder of page bodies"),
        (("record", tmp_path / "absent"), "cannot read"),
        (("dataset", dataset), "--log"),
    ):
        run = verify(*arguments)
        assert run.code == 2, arguments
        assert expected in run.errors, run.errors
        assert "Traceback" not in run.errors + run.output


def test_the_installed_command_exits_with_the_outcome(network: Any) -> None:
    command = [sys.executable, "-c", "from provenance.cli import main; main()", "dataset", str(network.dataset)]
    root = Path(__file__).resolve().parents[2]

    def run() -> subprocess.CompletedProcess[str]:
        arguments = [*command, "--log", str(network.log), "--rows", "1"]
        return subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=60, check=False)

    assert run().returncode == 0
    flip(network.log / "tile/0/000", 3)
    done = run()
    assert done.returncode == 1
    assert "RESULT: FAILED at log files" in done.stdout
    assert done.stderr == ""


def test_text_from_the_dataset_cannot_write_to_the_terminal(network: Any, verify: Verify) -> None:
    change_line(network.dataset / "data.jsonl", 0, '"url":"https://site.example/0"', r'"url":"\u001b[2J\u0007[red]x"')
    run = verify("dataset", network.dataset, "--log", network.log, "--rows", 1)
    assert run.code == 1
    assert "\x1b" not in run.output
    assert "\x07" not in run.output
    assert "[red]x" in run.output
