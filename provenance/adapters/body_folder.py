"""Page bodies in a folder, under the SHA-256 of what they decode to: as served, or still content-encoded."""

import hashlib
from pathlib import Path

from protocol.bodies import decode_body
from protocol.errors import ProtocolError
from protocol.record import Record
from provenance.errors import AuditInputError


class BodyFolder:
    """Finds bodies by file name anywhere below a folder; a suffix after a dot is ignored.

    Raises:
        AuditInputError: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise AuditInputError(f"{folder} is not a folder of page bodies")
        self._paths = {path.name.split(".")[0]: path for path in folder.rglob("*") if path.is_file()}

    def check(self, record: Record) -> str | None:
        """Return what is wrong with the body of a record, empty where its hash holds; None where there is no body."""
        path = self._paths.get(record.body_hash)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise AuditInputError(f"cannot read {path}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() == record.body_hash:
            return ""
        try:
            _, digest = decode_body(data, record.content_encoding)
        except ProtocolError as error:
            return f"{path.name} does not have its hash and does not decode: {error}"
        return "" if digest == record.body_hash else f"{path.name} decodes to SHA-256 {digest}"
