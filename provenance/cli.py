"""`meadow-verify`: check a dataset or a record against a public log and a Solana chain.

Exit code 0: nothing failed. 1: a step failed. 2: the input, the log or the chain could not be read.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from protocol.dataset import Row
from protocol.errors import ProtocolError
from protocol.keys import from_base64url, to_base64url
from provenance.adapters.http_tiles import HttpTiles
from provenance.adapters.local_tiles import LocalTiles
from provenance.audit import Evidence, audit_dataset, audit_record
from provenance.audit_proof import audit_proof
from provenance.audit_report import AuditReport
from provenance.audit_row import BodySource
from provenance.audit_text import TABLE_WIDTH, print_report, printable
from provenance.checkpoint import parse_vkey
from provenance.errors import AuditInputError, ProvenanceError
from provenance.tlog_proof import MAX_PROOF_BYTES

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
MAX_RECORD_FILE_BYTES = 64 * 1024 * 1024
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")

app = typer.Typer(
    name="meadow-verify",
    help="Check where every row of a dataset comes from, trusting neither its seller nor the network.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Log = Annotated[str, typer.Option("--log", metavar="URL_OR_DIR", help="The public log: its address or its folder.")]
OptionalLog = Annotated[
    str | None, typer.Option("--log", metavar="URL_OR_DIR", help="The public log: its address or its folder.")
]
Solana = Annotated[
    str | None, typer.Option("--solana", metavar="URL", help="A Solana RPC address; without it anchors stay unchecked.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
LogKey = Annotated[
    str | None, typer.Option("--log-key", metavar="VKEY", help="The log's key, <name>+<id>+<base64>, known beforehand.")
]
Bodies = Annotated[
    Path | None, typer.Option("--bodies", metavar="DIR", help="A folder of page bodies, named by their SHA-256.")
]


class _JsonReport(msgspec.Struct):
    """What `--json` prints: the report, how its steps counted out, and whether any failed."""

    failed: bool
    counts: dict[str, int]
    report: AuditReport


@app.command()
def dataset(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The dataset's folder, or one data file in it.")],
    *,
    log: Log,
    solana: Solana = None,
    as_json: AsJson = False,
    bodies: Bodies = None,
    log_key: LogKey = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Audit this many rows one by one, from the first.")
    ] = None,
) -> None:
    """Audit a dataset: its files, its root, the dispatcher's word on it, and every row back to its payment."""

    async def run() -> AuditReport:
        from provenance.adapters.dataset_files import DatasetFiles

        source = DatasetFiles(path)
        async with _evidence(log, solana, bodies, log_key) as evidence:
            return await audit_dataset(source, evidence, max_rows=rows)

    _finish(run, as_json=as_json)


@app.command()
def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A record (binary or base64url), or one JSONL row.")],
    *,
    log: OptionalLog = None,
    solana: Solana = None,
    as_json: AsJson = False,
    bodies: Bodies = None,
    log_key: LogKey = None,
) -> None:
    """Audit one record, or one row of a dataset."""

    async def run() -> AuditReport:
        item = _read_record(file)
        if log is None:
            if solana is not None or log_key is not None or bodies is not None:
                raise AuditInputError("--solana, --bodies and --log-key need --log: the log says what to look for")
            return await audit_record(str(file), item, None)
        async with _evidence(log, solana, bodies, log_key) as evidence:
            return await audit_record(str(file), item, evidence)

    _finish(run, as_json=as_json)


@app.command()
def proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .tlog-proof file (C2SP tlog-proof).")],
    *,
    vkey: Annotated[
        str | None,
        typer.Option(
            "--vkey", "--log-key", metavar="VKEY", help="The log's key, known beforehand: no network is used."
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            "--log-url", "--log", metavar="URL_OR_DIR", help="The public log: compare the checkpoint with its newest."
        ),
    ] = None,
    of_record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="The record to prove; else the one in the file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof: that the entry it carries, or the record given, stands in the log."""

    async def run() -> AuditReport:
        key = None if vkey is None else parse_vkey(vkey)
        data = _read_file(file, MAX_PROOF_BYTES, "a proof")
        entry = None if of_record is None else _read_statement(of_record)
        async with AsyncExitStack() as stack:
            files = None if log is None else _log_files(log)
            if files is not None:
                stack.push_async_callback(files.close)
            return await audit_proof(str(file), data, log_key=key, log=files, entry=entry)

    _finish(run, as_json=as_json)


@asynccontextmanager
async def _evidence(log: str, solana: str | None, bodies: Path | None, log_key: str | None) -> AsyncIterator[Evidence]:
    """Open what to audit against, and close it afterwards."""
    key = None if log_key is None else parse_vkey(log_key)
    body_source: BodySource | None = None
    if bodies is not None:
        from provenance.adapters.body_folder import BodyFolder

        body_source = BodyFolder(bodies)
    async with AsyncExitStack() as stack:
        files = _log_files(log)
        stack.push_async_callback(files.close)
        if solana is None:
            yield Evidence(files, None, body_source, key)
            return
        from provenance.adapters.solana_audit import SolanaAudit
        from provenance.adapters.solana_rpc import SolanaRpc

        rpc = await stack.enter_async_context(SolanaRpc.connect(solana))
        yield Evidence(files, SolanaAudit(rpc), body_source, key)


def _log_files(log: str) -> HttpTiles | LocalTiles:
    if "://" in log:
        return HttpTiles(log)
    folder = Path(log)
    if not folder.is_dir():
        raise AuditInputError(f"the log {log} does not exist; give its folder, or an address that starts with http")
    return LocalTiles(folder)


def _read_record(file: Path) -> str | bytes:
    """Read a record's text, or a row's line as bytes."""
    data = _read_file(file, MAX_RECORD_FILE_BYTES, "a single record or row")
    text = data.strip()
    if not text:
        raise AuditInputError(f"{file} is empty; expected a record (binary or base64url) or one JSONL row")
    if text.startswith(b"{"):
        if b"\n" in text:
            raise AuditInputError(f"{file} holds more than one row; use `meadow-verify dataset` for a whole file")
        return text
    return text.decode() if _BASE64URL.fullmatch(text) else to_base64url(data)


def _read_statement(file: Path) -> bytes:
    """Read a record's bytes, from its own file or from a dataset's row."""
    item = _read_record(file)
    try:
        if isinstance(item, bytes):
            item = msgspec.json.decode(item, type=Row).provenance.record
        return from_base64url(item)
    except (msgspec.DecodeError, UnicodeDecodeError, ProtocolError) as error:
        raise AuditInputError(f"{file} holds no record: {error}") from error


def _read_file(file: Path, most_bytes: int, what: str) -> bytes:
    try:
        if file.stat().st_size > most_bytes:
            raise AuditInputError(f"{file} is larger than {most_bytes} bytes; it is not {what}")
        return file.read_bytes()
    except OSError as error:
        raise AuditInputError(f"cannot read {file}: {error.strerror}") from error


def _finish(run: Callable[[], Awaitable[AuditReport]], *, as_json: bool) -> None:
    """Run an audit, print its report and exit."""

    async def audit() -> AuditReport:
        return await run()

    try:
        report = asyncio.run(audit())
    except ProvenanceError as error:
        typer.echo(f"meadow-verify: {printable(str(error))}", err=True)
        raise typer.Exit(EXIT_UNUSABLE) from error
    except KeyboardInterrupt as error:
        typer.echo("meadow-verify: stopped before the audit was complete", err=True)
        raise typer.Exit(130) from error
    if as_json:
        counts = {outcome.value: count for outcome, count in report.counts().items()}
        encoded = msgspec.json.encode(_JsonReport(report.failed, counts, report))
        sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=TABLE_WIDTH)
        print_report(report, console)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
