"""Proofs of the log's entries, made from its tiles when they are asked for."""

import enum
from hashlib import sha256

from dispatcher.errors import ObjectError
from dispatcher.ledger import LogLedger
from dispatcher.log_coverage import LogCoverages
from provenance.errors import LogUnavailable, VerificationError
from provenance.log_writer import checkpoint_path
from provenance.tiles import TileReader
from provenance.tlog_proof import build_proof, encode_proof


class Absent(enum.Enum):
    """Why there is no proof: no such entry, or no published checkpoint covers it yet."""

    UNKNOWN = "unknown"
    NOT_COVERED = "not covered"


class ProofService:
    """Makes `.tlog-proof` files. Each names the first checkpoint that covers its entry: its bytes never change."""

    def __init__(self, ledger: LogLedger, coverages: LogCoverages, log: TileReader) -> None:
        self._ledger, self._coverages, self._log = ledger, coverages, log

    async def proof(self, index: int, entry_id: str) -> bytes | Absent:
        """Return the proof of the entry of this index whose SHA-256 is `entry_id`.

        Raises:
            LedgerError: the ledger fails.
            ObjectError: the log's store fails, or what it holds does not fit together.
        """
        found = await self._ledger.entries(index, index + 1)
        if not found or sha256(found[0].statement).hexdigest() != entry_id:
            return Absent.UNKNOWN
        coverage = (await self._coverages.of([index])).get(index)
        if coverage is None:
            return Absent.NOT_COVERED
        try:
            note = await self._log.read(checkpoint_path(coverage.size))
            if note is None:
                raise ObjectError(f"the log has lost {checkpoint_path(coverage.size)}; restore it from a backup")
            proof = await build_proof(
                self._log, index=index, size=coverage.size, checkpoint=note, extra=found[0].statement
            )
        except (LogUnavailable, VerificationError) as error:
            raise ObjectError(f"no proof of entry {index} can be made: {error}") from error
        return encode_proof(proof)
