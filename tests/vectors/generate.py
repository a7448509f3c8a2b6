"""Writes the vectors that Python and TypeScript share: `python -m tests.vectors.generate [--check]`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vectors import body_cases, message_cases, statement_cases, url_cases

FOLDER = Path(__file__).resolve().parent
FILES: dict[str, Callable[[], list[dict[str, object]]]] = {
    "statements": statement_cases.statements,
    "certificates": statement_cases.certificates,
    "jobs": statement_cases.jobs,
    "records": statement_cases.records,
    "handshake": statement_cases.handshake,
    "messages": message_cases.messages,
    "base64url": message_cases.base64url,
    "uuid7": message_cases.uuids,
    "rows": message_cases.rows,
    "urls": url_cases.urls,
    "joins": url_cases.joins,
    "addresses": url_cases.addresses,
    "bodies": body_cases.bodies,
    "content_encodings": body_cases.encodings,
}


def generate() -> dict[str, bytes]:
    """Return each file's name and bytes: ASCII JSON, one case a line."""
    return {f"{name}.json": _encode(make()) for name, make in FILES.items()}


def _encode(cases: list[dict[str, object]]) -> bytes:
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    return f"[\n{lines}\n]\n".encode("ascii")


def main(arguments: list[str]) -> int:
    """Write every file, or with `--check` compare with what is there."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m tests.vectors.generate [--check]\n")
        return 2
    stale = []
    for name, data in generate().items():
        path = FOLDER / name
        if arguments and (not path.exists() or path.read_bytes() != data):
            stale.append(name)
        elif not arguments:
            path.write_bytes(data)
    if stale:
        sys.stderr.write(f"not as generated: {', '.join(stale)}; run: python -m tests.vectors.generate\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
