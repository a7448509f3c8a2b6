"""Each package imports only what its extra installs: a node never needs what a dispatcher does."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTRA_OF = {
    "protocol": (),
    "node_agent": ("node",),
    "cleaning": ("clean",),
    "provenance": ("verify",),
    "dispatcher": ("dispatcher",),
}
OURS = frozenset(EXTRA_OF)


def declared(extras: tuple[str, ...]) -> set[str]:
    """The distributions that the base and these extras name, extras of our own followed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    waiting = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    while waiting:
        for line in waiting.pop():
            match = re.match(r"([A-Za-z0-9_.-]+)(?:\[([^\]]*)\])?", line)
            assert match is not None
            if match[1] == "meadow-network":
                waiting += [project["optional-dependencies"][extra] for extra in match[2].split(",")]
            else:
                found.add(match[1].lower().replace("_", "-"))
    return found


def third_party(package: Path) -> dict[str, str]:
    """Top-level third-party modules that a package imports, each with a file that does."""
    found: dict[str, str] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in (name.split(".")[0] for name in names):
                if name not in sys.stdlib_module_names and name not in OURS and name != "_typeshed":
                    found[name] = str(path.relative_to(ROOT))
    return found


def undeclared(package: str, extras: tuple[str, ...]) -> list[str]:
    """Imports whose distribution the extras do not name. What `protocol` imports in its adapters counts as theirs."""
    distributions = packages_distributions()
    allowed = declared(extras)
    missing = []
    for module, path in sorted(third_party(ROOT / package).items()):
        names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
        if not names & allowed:
            missing.append(f"{path} imports {module} of {', '.join(sorted(names))}")
    return missing


@pytest.mark.parametrize("package", [name for name in EXTRA_OF if name != "protocol"])
def test_a_package_imports_only_what_its_extra_installs(package: str) -> None:
    assert undeclared(package, EXTRA_OF[package]) == []


@pytest.mark.parametrize("extra", ["node", "verify", "dispatcher"])
def test_whoever_decodes_bodies_can_import_protocol(extra: str) -> None:
    assert undeclared("protocol", (extra,)) == []


def test_a_missing_declaration_is_seen() -> None:
    assert any("pyarrow" in line for line in undeclared("cleaning", ("node",)))
