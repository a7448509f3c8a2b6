"""Schemathesis over the served OpenAPI document of a real dispatcher: `python -m tests.lab_api.fuzz --examples 60`.

Requests are made of the document's own schemas, valid and broken. No answer may be a 5xx, nor one that the document
does not name: status, content type and shape. Only the wait for a page is cut short, so that pages that do not exist
hold up nobody. Prints one line, and exits with 1 where an answer is wrong.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.site import serving
from tests.network.processes import Up

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
_WAIT_MS = (1_000, 1_200)
_QUICK = {"MEADOW_HOST_DELAY_MS": "0", "MEADOW_HOST_MAX_CONCURRENT": "16"}


@dataclass(frozen=True)
class Fuzzed:
    """What a run came to: how many requests were made to how many operations, and what was wrong, as it was said."""

    cases: int
    operations: int
    failures: int
    said: str

    def line(self) -> str:
        verdict = "SOUND" if self.failures == 0 and self.cases else "BROKEN"
        return f"{verdict}: fuzz: cases={self.cases} operations={self.operations} failures={self.failures}"


def fuzz(folder: Path, *, examples: int, seed: int) -> Fuzzed:
    """Make so many examples for each operation, beside those that cover the schema's corners."""
    with serving() as site:
        up = Up(folder / "network", nodes=1, sites=[site.address], env=_QUICK).started()
        try:
            return _run(up, folder / "openapi.json", examples, seed)
        finally:
            up.close()


def _run(up: Up, schema: Path, examples: int, seed: int) -> Fuzzed:
    with urllib.request.urlopen(f"{up.ready.api_url}/openapi.json", timeout=20) as answer:
        schema.write_text(json.dumps(_impatient(json.load(answer))))
    ran = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", str(schema), "--url", up.ready.api_url, "--header", f"Authorization: Bearer {up.ready.api_key}"),
            *("--max-examples", str(examples), "--seed", str(seed), "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--no-color"),
            "--generation-database=none",
        ],
        cwd=schema.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=3_600,
    )
    said = ran.stdout + ran.stderr
    cases = re.search(r"([\d,]+) generated", said)
    operations = re.search(r"Tested: (\d+)", said)
    failures = sum(int(count) for count in re.findall(r"❌ ST\d+ [^:]*: (\d+)", said))
    return Fuzzed(
        cases=int(cases[1].replace(",", "")) if cases else 0,
        operations=int(operations[1]) if operations else 0,
        failures=max(failures, int(ran.returncode != 0)),
        said=said,
    )


def _impatient(document: dict[str, Any]) -> dict[str, Any]:
    """The document with short waits for pages."""
    low, high = _WAIT_MS
    for name in ("ScrapeBody", "MapBody"):
        schema = document["components"]["schemas"][name]
        schema["properties"]["timeout"] = {"type": "integer", "minimum": low, "maximum": high}
        schema["required"] = [*schema["required"], "timeout"]
    return document


def main() -> int:
    """Run it as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60, help="examples for each operation and way of making them")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzzed = fuzz(Path(folder), examples=given.examples, seed=given.seed)
    print(fuzzed.line())
    if fuzzed.failures:
        print(fuzzed.said)
    return int(fuzzed.failures > 0 or not fuzzed.cases)


if __name__ == "__main__":
    sys.exit(main())
