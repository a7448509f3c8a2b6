"""The import table of the design holds, and a breach of each of its lines is seen."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "node_agent", "dispatcher", "cleaning", "provenance")
PLANTED = [
    ("protocol", "dispatcher.errors", "protocol imports nothing of ours"),
    ("protocol", "cleaning.errors", "protocol imports nothing of ours"),
    ("provenance", "dispatcher.errors", "provenance imports protocol only"),
    ("cleaning", "provenance.errors", "cleaning imports protocol only"),
    ("node_agent", "provenance.errors", "node_agent imports protocol only"),
    ("dispatcher", "node_agent.errors", "dispatcher does not import node_agent"),
]
WORLD = {"socket", "time", "sqlite3", "aiohttp", "redis", "random", "secrets", "subprocess", "psutil", "solana"}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "site"))
    return folder


def test_the_table_holds(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("package", "module", "contract"), PLANTED)
def test_a_planted_breach_is_seen(copy: Path, package: str, module: str, contract: str) -> None:
    planted = copy / package / "planted.py"
    planted.write_text(f"import {module}\n")
    try:
        result = lint(copy)
    finally:
        planted.unlink()
    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def breaches(package: Path) -> list[str]:
    found = []
    for path in sorted(package.glob("*.py")):
        if path.stem.startswith("cli"):
            continue
        for name in imported(path.read_text()):
            if name.split(".")[0] in WORLD or ".adapters" in name:
                found.append(f"{path.name} imports {name}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_package_roots_are_pure(package: str) -> None:
    assert breaches(ROOT / package) == []


def test_an_impure_root_is_seen(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import socket\nfrom protocol.adapters import guarded_connector\n")
    assert len(breaches(tmp_path)) == 2
