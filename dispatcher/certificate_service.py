"""Keeps the job key certified: the certificate in use, and the public list of all there were."""

import asyncio
from collections.abc import Callable

import structlog

from dispatcher.job_signer import JobSigner, certify
from protocol.keys import SigningKey
from provenance.errors import ProvenanceError
from provenance.log_info import CERTIFICATES_PATH, decode_certificates, encode_certificates
from provenance.log_writer import TileStore

_log = structlog.get_logger("certificates")
RENEW_EVERY_S = 3_600.0


class CertificateService:
    """Owns `certificates.json` in the public log's folder. A certificate is published before it is used."""

    def __init__(self, *, store: TileStore, root: SigningKey, job_key: SigningKey, clock: Callable[[], int]) -> None:
        self._store, self._root, self._job_key, self._clock = store, root, job_key, clock

    async def open_signer(self) -> JobSigner:
        """Return a signer whose key is certified for now and for some time to come."""
        stored = await self._store.read(CERTIFICATES_PATH)
        known = decode_certificates(stored) if stored else ()
        certificate, certificates = certify(known, root=self._root, job_key=self._job_key, now_ms=self._clock())
        if certificates != known:
            await self._store.replace(CERTIFICATES_PATH, encode_certificates(certificates))
        return JobSigner(self._job_key, certificate)

    async def run(self, signer: JobSigner) -> None:
        """Renew the signer's certificate in good time, until cancelled. Open sessions keep the one they were shown."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self.renew(signer)
            except ProvenanceError as error:
                _log.warning("certificate_not_renewed", error=str(error))

    async def renew(self, signer: JobSigner) -> None:
        """Give the signer the certificate that is to be used now."""
        signer.certificate = (await self.open_signer()).certificate
