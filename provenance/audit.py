"""The audit: a dataset or a record, against a public log and a Solana chain, trusting neither.

1. `meadow.json` says where things are; the log's key is the pinned one, or the one the log names.
2. The anchors are listed before the newest head is read, so that a live log never looks shorter than its anchors.
3. The log as a whole: newest head, every file it must serve, every anchor, every payout.
4. The dataset as a whole: manifest, root over the rows, the dispatcher's signed and logged statement.
5. Each row: `audit_report.ROW_STEPS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from provenance.audit_anchors import AnchorAudit
from provenance.audit_chain import ChainReader
from provenance.audit_credits import CreditAudit
from provenance.audit_dataset import DatasetSource, RowRoots, check_manifest, check_statement
from provenance.audit_files import check_files
from provenance.audit_log import LogFiles, LogView
from provenance.audit_report import AuditReport, RowReport, StepResult, failed, not_checked, ok
from provenance.audit_row import BodySource, RowAudit, RowReading, check_record
from provenance.checkpoint import VerifierKey, parse_vkey
from provenance.errors import AuditInputError, VerificationError
from provenance.log_info import LOG_INFO_PATH, LogInfo, decode_log_info
from provenance.tiles import TILE_WIDTH

SEARCHED_ENTRIES = 65_536
"""How many entries, newest first, are searched for a record whose place in the log is not known."""

Progress = Callable[[RowReport], None]
"""Called with each row's report as it is done."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What to audit against.

    Attributes:
        log: the log's files.
        chain: the chain, None to leave anchors and credits unchecked.
        bodies: page bodies, None to leave them unchecked.
        log_key: the log's key if the auditor knows it, None to take the log's own word.
    """

    log: LogFiles
    chain: ChainReader | None = None
    bodies: BodySource | None = None
    log_key: VerifierKey | None = None


class _Opened(NamedTuple):
    info: LogInfo
    rows: RowAudit
    whole: tuple[StepResult, ...]
    notes: tuple[str, ...]
    simulator: bool | None


async def audit_dataset(
    source: DatasetSource, evidence: Evidence, *, max_rows: int | None = None, progress: Progress | None = None
) -> AuditReport:
    """Audit a dataset.

    Args:
        source: the dataset's files.
        evidence: what to audit against.
        max_rows: audit the steps of this many rows only; every row still counts for the dataset's root.
        progress: called after each row.

    Raises:
        AuditInputError: the log or the dataset is not readable as such.
        FormatError: `meadow.json` or the log's key is not readable.
        LogUnavailable: the log does not answer.
        ChainError: the chain does not answer.
    """
    opened = await _open(evidence)
    manifest_step, manifest = check_manifest(source, opened.info.origin)
    roots = RowRoots()
    reports: list[RowReport] = []
    for reading in source.rows():
        roots.add(reading)
        if max_rows is None or len(reports) < max_rows:
            report = await opened.rows.row(reading)
            reports.append(report)
            if progress is not None:
                progress(report)
    statement_steps = await check_statement(manifest, evidence.log, opened.info, opened.rows.view)
    notes = list(opened.notes)
    if roots.rows > len(reports):
        notes.append(f"{roots.rows - len(reports)} of {roots.rows} rows were not audited one by one (--rows)")
    if not source.whole:
        notes.append(f"only {', '.join(source.names)} was audited; give the dataset's folder to audit all of it")
    return AuditReport(
        kind="dataset",
        subject=str(source),
        log=str(evidence.log),
        origin=opened.info.origin,
        simulator=opened.simulator,
        notes=tuple(notes),
        whole=(*opened.whole, manifest_step, roots.check(manifest), *statement_steps),
        rows=tuple(reports),
    )


async def audit_record(subject: str, item: str | bytes, evidence: Evidence | None) -> AuditReport:
    """Audit one record, or one row of a dataset.

    Args:
        subject: what to call it.
        item: a record's statement in base64url, or the line of a row in a JSONL file, without its newline.
        evidence: what to audit against, None to check signatures only.

    Raises:
        as `audit_dataset`.
    """
    opened = None if evidence is None else await _open(evidence)
    rows = RowAudit(None, None, None, None) if opened is None else opened.rows
    if isinstance(item, bytes):
        report = await rows.row(RowReading(0, item, None))
    else:
        statement, record, step = check_record(item, None)
        index = None
        if rows.view is not None and statement is not None:
            index = await _find(rows.view, statement)
        if rows.view is not None and index is None:
            problem = f"not among the newest {min(SEARCHED_ENTRIES, rows.view.newest.size)} entries of the log"
            rest = (failed("log entry", problem), *(await rows.entry(statement, record, None))[1:])
        else:
            rest = await rows.entry(statement, record, index)
        report = RowReport(
            position=0,
            url="" if record is None else record.url,
            log_index=index,
            steps=(not_checked("content", "a bare record, no row"), step, *rest),
        )
    return AuditReport(
        kind="record",
        subject=subject,
        log="" if evidence is None else str(evidence.log),
        origin="" if opened is None else opened.info.origin,
        simulator=None if opened is None else opened.simulator,
        notes=() if opened is None else opened.notes,
        whole=() if opened is None else opened.whole,
        rows=(report,),
    )


async def _open(evidence: Evidence) -> _Opened:
    """Read what a log says of itself and audit the log as a whole."""
    data = await evidence.log.read(LOG_INFO_PATH)
    if data is None:
        raise AuditInputError(f"{evidence.log} is not a Meadow log: it has no {LOG_INFO_PATH}")
    info = decode_log_info(data)
    key, key_step = _log_key(evidence.log_key, info)
    whole = [key_step]
    simulator: bool | None = None
    notes: list[str] = []
    seen = None
    if evidence.chain is None:
        whole.append(not_checked("chain", "no --solana given"))
    else:
        simulator = await evidence.chain.is_simulator()
        whole.append(_check_chain(await evidence.chain.genesis_hash(), info, simulator))
        seen = await evidence.chain.anchors(info.anchor_address)
    if simulator or (simulator is None and info.simulator):
        notes.append(
            "the Solana chain is an embedded SIMULATOR: it shows that the code works, not that nobody could rewrite it"
        )
    try:
        view = await LogView.open(evidence.log, info, key)
    except VerificationError as error:
        whole.append(failed("newest checkpoint", str(error)))
        rows = RowAudit(None, None, None, evidence.bodies, *["the log's newest checkpoint does not hold"] * 2)
        return _Opened(info, rows, tuple(whole), tuple(notes), simulator)
    whole.append(ok("newest checkpoint", f"size {view.newest.size}, signed by {info.origin}"))
    anchors = None if seen is None else AnchorAudit(seen, view)
    whole.append(await check_files(view, () if anchors is None else anchors.sizes))
    credits = None
    if anchors is not None and evidence.chain is not None:
        whole.append(await anchors.check_all())
        credits = await CreditAudit.read(evidence.log, info, evidence.chain)
        whole.append(credits.check_all())
    return _Opened(info, RowAudit(view, anchors, credits, evidence.bodies), tuple(whole), tuple(notes), simulator)


def _log_key(pinned: VerifierKey | None, info: LogInfo) -> tuple[VerifierKey, StepResult]:
    step = "log key pinned"
    if pinned is None:
        return parse_vkey(info.vkey), not_checked(step, f"taken from the log itself; pin it with --log-key {info.vkey}")
    if str(pinned) != info.vkey:
        return pinned, failed(step, f"the log names the key {info.vkey}, not the pinned {pinned}")
    return pinned, ok(step, info.vkey)


def _check_chain(genesis_hash: str, info: LogInfo, simulator: bool) -> StepResult:
    step = "chain"
    if genesis_hash != info.genesis_hash:
        return failed(step, f"the RPC server is of the chain {genesis_hash}; the log anchors on {info.genesis_hash}")
    return ok(step, f"genesis {genesis_hash}" + (", a SIMULATOR" if simulator else ""))


async def _find(view: LogView, statement: bytes) -> int | None:
    """Search the newest entries for a record; the newest place, None where it is not found."""
    tree = view.tree(view.newest.size)
    last = (view.newest.size - 1) // TILE_WIDTH
    for number in range(last, max(-1, last - SEARCHED_ENTRIES // TILE_WIDTH), -1):
        try:
            entries = await tree.bundle(number)
        except VerificationError:
            continue
        for offset, entry in enumerate(entries):
            if entry == statement:
                return number * TILE_WIDTH + offset
    return None
