"""The vectors of the protocol inside the browsers themselves: their parsers and their cryptography, not Node's."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.extension.conftest import World
from tests.extension.sharer import BROWSERS, BrowserName, missing, sharer
from tests.network.processes import ROOT

VECTORS = ROOT / "tests" / "vectors"
EXTENSION = ROOT / "extension"
LEAST_QUESTIONS = 1_500
_NOT_FOR_NODES = ("bodies.json", "content_encodings.json")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The runner with everything it imports, as one script that leaves `vectors` behind."""
    out = tmp_path_factory.mktemp("vectors") / "vectors.js"
    arguments = ["tests/vectors/run_vectors.ts", "--bundle", "--format=iife", "--global-name=vectors"]
    program = EXTENSION / "node_modules" / ".bin" / "esbuild"
    if not program.exists():
        pytest.skip("the extension's tools are not installed: run make extension")
    ran = subprocess.run([program, *arguments, f"--outfile={out}"], cwd=EXTENSION, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return out.read_text()


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_browser_agrees_with_every_vector(world: World, browser: BrowserName, runner: str, tmp_path: Path) -> None:
    if reason := missing(browser):
        pytest.skip(reason)
    files = {
        path.name.removesuffix(".json"): path.read_text()
        for path in VECTORS.glob("*.json")
        if path.name not in _NOT_FOR_NODES
    }
    call = f"""async (texts) => {{
      {runner}
      const files = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, JSON.parse(text)]));
      const results = await vectors.runVectors(files);
      return JSON.stringify([results.length, vectors.unexplained(results, "{browser}")]);
    }}"""
    with sharer(world, browser, tmp_path) as person:
        questions, unexplained = json.loads(person.view.evaluate(call, files))
    assert unexplained == []
    assert questions >= LEAST_QUESTIONS
