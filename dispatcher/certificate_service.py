"""Keeps the job key certified: the certificate in use, and the public list of all there were.

One dispatcher at a time renews (a duty of `leader.py`); all of them follow what is published.
"""

import asyncio
from collections.abc import Callable

import structlog

from dispatcher.bus import Bus, CertificateRenewed, Event
from dispatcher.job_signer import JobSigner, certify, standing_certificate
from dispatcher.ledger import Leadership
from protocol.keys import SigningKey
from protocol.statements import Statement
from provenance.errors import ProvenanceError
from provenance.log_info import CERTIFICATES_PATH, decode_certificates, encode_certificates
from provenance.log_writer import TileStore

_log = structlog.get_logger("certificates")
RENEW_EVERY_S = 3_600.0


class CertificateService:
    """Owns `certificates.json` among the public log's files. A certificate is published before it is used."""

    def __init__(
        self, *, store: TileStore, root: SigningKey, job_key: SigningKey, clock: Callable[[], int], bus: Bus
    ) -> None:
        self._store, self._root, self._job_key, self._clock, self._bus = store, root, job_key, clock, bus
        self._renewed = asyncio.Event()
        bus.subscribe(self._on_event)

    async def open_signer(self) -> JobSigner:
        """Return a signer whose key is certified for now and for some time to come.

        Two dispatchers that issue the first certificate at once publish one of them: call it under a lease.
        """
        await self.renew()
        standing = await self._standing()
        assert standing is not None, "a certificate was published just now"
        return JobSigner(self._job_key, standing)

    async def renew(self, _leadership: Leadership | None = None) -> None:
        """Publish the next certificate, if it is time for it."""
        known = await self._published()
        _, certificates = certify(known, root=self._root, job_key=self._job_key, now_ms=self._clock())
        if certificates != known:
            await self._store.replace(CERTIFICATES_PATH, encode_certificates(certificates))
            self._bus.publish(CertificateRenewed())

    async def follow(self, signer: JobSigner) -> None:
        """Give the signer what is published, soon after it is, until cancelled. Open sessions keep the certificate they
        were shown."""
        while True:
            renewed = self._renewed
            try:
                await asyncio.wait_for(renewed.wait(), RENEW_EVERY_S)
            except TimeoutError:
                _log.debug("certificate_looked_at")
            try:
                await self.refresh(signer)
            except ProvenanceError as error:
                _log.warning("certificate_not_read", error=str(error))

    async def refresh(self, signer: JobSigner) -> None:
        """Give the signer the newest certificate there is for its key."""
        if (standing := await self._standing()) is not None:
            signer.certificate = standing

    async def _standing(self) -> Statement | None:
        return standing_certificate(
            await self._published(), root_key=self._root.public, job_key=self._job_key.public, now_ms=self._clock()
        )

    async def _published(self) -> tuple[Statement, ...]:
        stored = await self._store.read(CERTIFICATES_PATH)
        return decode_certificates(stored) if stored else ()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, CertificateRenewed):
            self._renewed.set()
            self._renewed = asyncio.Event()
