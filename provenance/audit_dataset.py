"""Auditing a dataset as a whole: its manifest, its files, its Merkle root, and the dispatcher's signed word on it."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec

from protocol.dataset import DatasetStatement, Manifest, dropped_hash, row_leaf
from protocol.errors import ProtocolError
from protocol.job import Certificate, open_certificate
from protocol.keys import from_base64url
from protocol.statements import Kind, Statement, open_self_signed, parse
from provenance.audit_log import LogView
from provenance.audit_report import StepResult, failed, not_checked, ok
from provenance.audit_row import RowReading
from provenance.errors import FormatError, VerificationError
from provenance.log_info import CERTIFICATES_PATH, LogInfo, decode_certificates
from provenance.merkle import RootBuilder, leaf_hash
from provenance.tiles import TileReader

_NAMED = 3


class FileDigest(NamedTuple):
    """Size and SHA-256 (hexadecimal) of a file."""

    bytes: int
    sha256: str


class DatasetSource(Protocol):
    """A dataset's files. AuditInputError where they cannot be read at all."""

    @property
    def names(self) -> tuple[str, ...]:
        """The data files to audit; all of the dataset's, or the one that was asked for."""
        ...

    @property
    def whole(self) -> bool:
        """Whether the whole dataset was asked for, not one file of it."""
        ...

    def manifest(self) -> bytes | None:
        """Return the bytes of `manifest.json`, None where there is none."""
        ...

    def digest(self, name: str) -> FileDigest | None:
        """Measure a file of the dataset, None where there is none."""
        ...

    def rows(self) -> Iterator[RowReading]:
        """Read the rows of all audited files side by side, in order."""
        ...


class RowRoots:
    """The Merkle roots over the rows, from each file, as the rows pass by."""

    def __init__(self) -> None:
        self._jsonl = RootBuilder()
        self._parquet = RootBuilder()
        self.rows = 0

    def add(self, reading: RowReading) -> None:
        """Count a row and add its leaves."""
        self.rows += 1
        if reading.line is not None:
            self._jsonl.add(leaf_hash(reading.line))
        if reading.parquet is not None:
            self._parquet.add(leaf_hash(row_leaf(reading.parquet)))

    def check(self, manifest: Manifest | None) -> StepResult:
        """Return the step `dataset root`."""
        step = "dataset root"
        if manifest is None:
            return not_checked(step, "there is no readable manifest")
        problems: list[str] = []
        for name, builder in (("JSONL", self._jsonl), ("Parquet", self._parquet)):
            if builder.size == 0 and manifest.rows:
                continue
            if builder.size != manifest.rows:
                problems.append(f"{name} has {builder.size} readable rows, the manifest says {manifest.rows}")
            elif builder.root().hex() != manifest.root:
                problems.append(f"the rows of {name} do not have the root {manifest.root}")
        if self.rows != manifest.rows:
            problems.append(f"{self.rows} rows found, the manifest says {manifest.rows}")
        return failed(step, "; ".join(problems)) if problems else ok(step, f"{self.rows} rows, {manifest.root}")


def check_manifest(source: DatasetSource, origin: str) -> tuple[StepResult, Manifest | None]:
    """Check the manifest against the files; return the step `manifest` and the manifest, where it is readable."""
    step = "manifest"
    data = source.manifest()
    if data is None:
        return not_checked(step, "there is no manifest.json beside the file"), None
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return failed(step, f"manifest.json is not readable: {error}"), None
    problems: list[str] = []
    checked: list[str] = []
    for file in manifest.files:
        if not source.whole and file.name not in source.names:
            continue
        found = source.digest(file.name)
        if found is None:
            problems.append(f"{file.name} is missing")
        elif found.sha256 != file.sha256 or found.bytes != file.bytes:
            problems.append(f"{file.name} ({found.bytes} bytes) does not have the size and SHA-256 of the manifest")
        if file.rows != manifest.rows:
            problems.append(f"{file.name} should have {file.rows} rows, the dataset {manifest.rows}")
        checked.append(file.name)
    unlisted = set(source.names).difference(file.name for file in manifest.files)
    if unlisted:
        problems.append(f"not in the manifest: {', '.join(sorted(unlisted))}")
    if dict(Counter(drop.reason for drop in manifest.dropped)) != manifest.drop_reasons:
        problems.append("drop_reasons does not count the dropped inputs")
    if manifest.log_origin != origin:
        problems.append(f"made with the log {manifest.log_origin!r}, not {origin!r}")
    if problems:
        return failed(step, "; ".join(problems[: 2 * _NAMED])), manifest
    return ok(step, f"{', '.join(checked)}; rows {manifest.rows}, inputs dropped {len(manifest.dropped)}"), manifest


async def check_statement(
    manifest: Manifest | None, files: TileReader, info: LogInfo, view: LogView | None
) -> tuple[StepResult, ...]:
    """Check the dispatcher's signed word on a dataset: the steps `job key`, `dataset statement`, `dataset in log`."""
    names = ("job key", "dataset statement", "dataset in log")
    if manifest is None:
        return tuple(not_checked(name, "there is no readable manifest") for name in names)
    try:
        data = from_base64url(manifest.statement)
        statement = parse(data)
        signed = open_self_signed(statement, Kind.DATASET, DatasetStatement, "signer")
    except ProtocolError as error:
        problem = failed("dataset statement", str(error))
        return not_checked(names[0], "the statement does not hold"), problem, not_checked(names[2], "it does not hold")
    return (
        await _check_signer(signed, files, info),
        _check_fields(signed, manifest),
        await _check_logged(data, manifest.statement_log_index, view),
    )


async def _check_signer(signed: DatasetStatement, files: TileReader, info: LogInfo) -> StepResult:
    step = "job key"
    data = await files.read(CERTIFICATES_PATH)
    if data is None:
        return failed(step, f"the log has no {CERTIFICATES_PATH}")
    try:
        certificates = decode_certificates(data)
    except FormatError as error:
        return failed(step, str(error))
    reasons: list[str] = []
    for statement in certificates:
        certificate = _certificate_at(statement, signed.created_ms, info.root_key, reasons)
        if certificate is not None and certificate.job_key == signed.signer:
            return ok(step, f"{signed.signer}, certified by root key {info.root_key}")
    why = f" ({'; '.join(reasons[:_NAMED])})" if reasons else ""
    return failed(step, f"no certificate of root key {info.root_key} covers {signed.signer} at that time{why}")


def _certificate_at(statement: Statement, now_ms: int, root_key: str, reasons: list[str]) -> Certificate | None:
    try:
        return open_certificate(statement, now_ms=now_ms, root_key=root_key)
    except ProtocolError as error:
        reasons.append(str(error))
        return None


def _check_fields(signed: DatasetStatement, manifest: Manifest) -> StepResult:
    step = "dataset statement"
    for name in ("dataset_id", "batch_id", "rows", "root", "created_ms"):
        said, stated = getattr(signed, name), getattr(manifest, name)
        if said != stated:
            return failed(step, f"its {name} is {said!r}, the manifest's {stated!r}")
    if signed.dropped_hash != dropped_hash(manifest.dropped):
        return failed(step, "the manifest's list of dropped pages is not the one that was signed")
    return ok(step, f"{signed.rows} rows with root {signed.root}, signed by {signed.signer}")


async def _check_logged(data: bytes, index: int, view: LogView | None) -> StepResult:
    step = "dataset in log"
    if view is None:
        return not_checked(step, "the log's newest checkpoint does not hold")
    try:
        if await view.tree(view.newest.size).entry(index) != data:
            return failed(step, f"entry {index} of the log is not the dataset's statement")
        await view.check_inclusion(data, index, view.newest.size, view.newest.root)
    except VerificationError as error:
        return failed(step, str(error))
    return ok(step, f"entry {index} in the tree of size {view.newest.size}")
