"""Auditing the log: its newest head, the heads before it, and proofs read from its tiles."""

from collections.abc import Sequence
from typing import Protocol

from provenance.checkpoint import SignedCheckpoint, VerifierKey, open_checkpoint
from provenance.errors import FormatError, VerificationError
from provenance.log_info import LogInfo
from provenance.log_writer import CHECKPOINT_PATH, checkpoint_path
from provenance.merkle import leaf_hash, verify_consistency, verify_inclusion
from provenance.tiles import TileCache, TileReader, TileTree


class LogFiles(TileReader, Protocol):
    """Reads a log, and lists its files where the place can."""

    async def paths(self, prefix: str) -> list[str] | None:
        """Return the paths of all files below `prefix`, None where files cannot be listed."""
        ...


class LogView:
    """A log at its newest signed head. Heads and proofs are verified once and remembered."""

    def __init__(
        self,
        files: LogFiles,
        info: LogInfo,
        key: VerifierKey,
        newest: SignedCheckpoint,
        witnesses: Sequence[VerifierKey],
    ) -> None:
        self.files = files
        self.info = info
        self.newest = newest.checkpoint
        self.witnesses = tuple(witnesses)
        self._key = key
        self._cache = TileCache()
        self._trees: dict[int, TileTree] = {}
        self._heads: dict[int, SignedCheckpoint | VerificationError] = {}
        self._consistent: dict[int, VerificationError | None] = {}
        self._newest = newest

    @classmethod
    async def open(
        cls, files: LogFiles, info: LogInfo, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
    ) -> "LogView":
        """Read and verify the newest head; VerificationError where there is none that holds."""
        data = await files.read(CHECKPOINT_PATH)
        if data is None:
            raise VerificationError("the log serves no checkpoint")
        try:
            newest = open_checkpoint(data, log_key=key, witnesses=witnesses)
        except FormatError as error:
            raise VerificationError(f"the newest checkpoint: {error}") from error
        if newest.checkpoint.origin != info.origin:
            raise VerificationError(f"the log calls itself {info.origin!r} and signs as {newest.checkpoint.origin!r}")
        return cls(files, info, key, newest, witnesses)

    def tree(self, size: int) -> TileTree:
        """Return the tree of a size, at most the newest one."""
        if size not in self._trees:
            self._trees[size] = TileTree(self.files, size, newest_size=self.newest.size, cache=self._cache)
        return self._trees[size]

    async def head(self, size: int) -> SignedCheckpoint:
        """Return the head of a size, signed by the log; VerificationError where there is none that holds."""
        found = self._heads.get(size)
        if found is None:
            try:
                found = await self._read_head(size)
            except VerificationError as error:
                found = error
            self._heads[size] = found
        if isinstance(found, VerificationError):
            raise found
        return found

    async def check_consistency(self, size: int) -> None:
        """Check that the newest head extends the head of `size`; VerificationError otherwise."""
        if size not in self._consistent:
            try:
                await self._verify_consistency(size)
            except VerificationError as error:
                self._consistent[size] = error
            else:
                self._consistent[size] = None
        problem = self._consistent[size]
        if problem is not None:
            raise problem

    async def check_inclusion(self, entry: bytes, index: int, size: int, root: bytes) -> None:
        """Check that `entry` is number `index` of the tree with this root; VerificationError otherwise."""
        if not 0 <= index < size:
            raise VerificationError(f"entry {index} is not in a log of size {size}")
        verify_inclusion(leaf_hash(entry), index, size, await self.tree(size).inclusion_proof(index), root)

    async def _read_head(self, size: int) -> SignedCheckpoint:
        path = checkpoint_path(size)
        data = await self.files.read(path)
        if data is None:
            if size == self.newest.size:
                return self._newest
            raise VerificationError(f"{path} is missing from the log")
        try:
            head = open_checkpoint(data, log_key=self._key, witnesses=self.witnesses)
        except (FormatError, VerificationError) as error:
            raise VerificationError(f"{path}: {error}") from error
        if head.checkpoint.size != size:
            raise VerificationError(f"{path} is the checkpoint of size {head.checkpoint.size}")
        return head

    async def _verify_consistency(self, size: int) -> None:
        head = (await self.head(size)).checkpoint
        if size > self.newest.size:
            raise VerificationError(f"a head of size {size} is signed, but the newest has size {self.newest.size}")
        if size == 0:
            return
        proof = await self.tree(self.newest.size).consistency_proof(size)
        try:
            verify_consistency(size, self.newest.size, proof, head.root, self.newest.root)
        except VerificationError as error:
            raise VerificationError(f"the heads of sizes {size} and {self.newest.size} contradict: {error}") from error
