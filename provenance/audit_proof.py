"""Auditing a proof's file: what it proves by itself, and what the log says of the checkpoint it names."""

from dataclasses import dataclass

from protocol.dataset import DatasetStatement
from protocol.errors import ProtocolError
from protocol.record import Record, open_record
from protocol.statements import Kind, open_self_signed, parse
from provenance.audit_log import LogFiles, LogView
from provenance.audit_report import AuditReport, StepResult, failed, not_checked, ok
from provenance.checkpoint import Checkpoint, VerifierKey, parse_vkey
from provenance.errors import AuditInputError, FormatError, VerificationError
from provenance.log_info import LOG_INFO_PATH, LogInfo, decode_log_info
from provenance.tlog_proof import TlogProof, parse_proof, verify_proof


@dataclass(frozen=True, slots=True)
class _Known:
    """The log's key, how it was come by, and what the log says of itself where it was asked."""

    key: VerifierKey
    step: StepResult
    info: LogInfo | None


async def audit_proof(
    subject: str, data: bytes, *, log_key: VerifierKey | None, log: LogFiles | None, entry: bytes | None = None
) -> AuditReport:
    """Audit a proof's file.

    Args:
        subject: what to call it.
        data: the file's bytes.
        log_key: the log's key where it is known beforehand; otherwise the log's own word is taken, and said so.
        log: the log, None to check without it. With it, the proof's checkpoint is compared with the newest one.
        entry: what is to be proved; None to take the entry that the file carries.

    Raises:
        AuditInputError: the file is no proof, or there is no key to check it by.
        FormatError: `meadow.json` or the log's key is not readable.
        LogUnavailable: the log does not answer.
    """
    try:
        proof = parse_proof(data)
    except FormatError as error:
        raise AuditInputError(f"{subject} is no proof: {error}") from error
    logged = proof.extra if entry is None else entry
    if logged is None:
        raise AuditInputError(f"{subject} carries no entry; give the record it is to prove with --record")
    known = await _known(log_key, log)
    steps = [known.step, _check_entry(logged)]
    head: Checkpoint | None = None
    try:
        head = verify_proof(proof, logged, log_key=known.key).checkpoint
    except (FormatError, VerificationError) as error:
        steps.append(failed("inclusion", str(error)))
    else:
        words = f"entry {proof.index} in the tree of size {head.size}, root {head.root.hex()}, signed by {head.origin}"
        steps.append(ok("inclusion", words))
    steps.append(await _check_log(proof, head, known, log))
    return AuditReport(
        kind="proof",
        subject=subject,
        log="" if log is None else str(log),
        origin=known.key.name,
        simulator=None if known.info is None else known.info.simulator,
        notes=(),
        whole=tuple(steps),
        rows=(),
    )


async def _known(log_key: VerifierKey | None, log: LogFiles | None) -> _Known:
    if log is None:
        if log_key is None:
            raise AuditInputError("give the log's key with --vkey, or its address with --log-url")
        return _Known(log_key, ok("log key pinned", str(log_key)), None)
    data = await log.read(LOG_INFO_PATH)
    if data is None:
        raise AuditInputError(f"{log} is not a Meadow log: it has no {LOG_INFO_PATH}")
    info = decode_log_info(data)
    if log_key is None:
        words = f"taken from the log itself; pin it with --vkey {info.vkey}"
        return _Known(parse_vkey(info.vkey), not_checked("log key pinned", words), info)
    if str(log_key) != info.vkey:
        return _Known(log_key, failed("log key pinned", f"the log names the key {info.vkey}, not {log_key}"), info)
    return _Known(log_key, ok("log key pinned", info.vkey), info)


def _check_entry(entry: bytes) -> StepResult:
    """Check the statement that the proof is about, by its own signature."""
    step = "entry"
    try:
        statement = parse(entry)
        if statement.kind is Kind.RECORD:
            return ok(step, _record_words(open_record(statement), statement.digest()))
        if statement.kind is Kind.DATASET:
            dataset = open_self_signed(statement, Kind.DATASET, DatasetStatement, "signer")
            return ok(step, f"dataset {dataset.dataset_id}, {dataset.rows} rows, root {dataset.root}")
    except ProtocolError as error:
        return failed(step, str(error))
    return failed(step, f"no log holds a {statement.kind.name.lower()}")


def _record_words(record: Record, digest: str) -> str:
    return f"record {digest} of {record.url}: body {record.body_hash}, signed by node {record.node_key}"


async def _check_log(proof: TlogProof, head: Checkpoint | None, known: _Known, log: LogFiles | None) -> StepResult:
    step = "checkpoint in log"
    if log is None or known.info is None:
        return not_checked(step, "no --log-url given")
    if head is None:
        return not_checked(step, "the proof does not hold")
    try:
        view = await LogView.open(log, known.info, known.key)
        kept = (await view.head(head.size)).checkpoint
        if kept.root != head.root:
            return failed(
                step, f"the log keeps another checkpoint of size {head.size}, with the root {kept.root.hex()}"
            )
        await view.check_consistency(head.size)
    except VerificationError as error:
        return failed(step, str(error))
    return ok(step, f"size {head.size}, extended by size {view.newest.size}; entry {proof.index} stands in both")
