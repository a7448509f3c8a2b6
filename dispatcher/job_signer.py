"""Signs jobs for nodes, with a key that the root key certifies."""

from collections.abc import Sequence

from protocol import limits
from protocol.errors import ProtocolError
from protocol.job import Certificate, issue_certificate, open_certificate
from protocol.job import Job as NodeJob
from protocol.keys import SigningKey
from protocol.statements import Kind, Statement, sign

CERTIFICATE_LIFETIME_MS = 30 * 24 * 3_600_000
_RENEW_MS = CERTIFICATE_LIFETIME_MS // 2


class JobSigner:
    """Owns the job key and the certificate nodes check it by."""

    def __init__(self, job_key: SigningKey, certificate: Statement) -> None:
        self.job_key, self.certificate = job_key, certificate

    def sign_job(self, job: NodeJob) -> Statement:
        """Sign a job for the node it names."""
        return sign(Kind.JOB, job, self.job_key)


def certify(
    known: Sequence[Statement], *, root: SigningKey, job_key: SigningKey, now_ms: int
) -> tuple[Statement, tuple[Statement, ...]]:
    """Return the certificate to use and all certificates there are now.

    A known certificate of this job key is used until half its time is over; then the root key signs the next one.
    """
    serial = 0
    for statement in reversed(known):
        certificate = _readable(statement, root_key=root.public, now_ms=now_ms)
        if certificate is None:
            continue
        serial = max(serial, certificate.serial + 1)
        if certificate.job_key == job_key.public and certificate.not_after_ms - now_ms > _RENEW_MS:
            return statement, tuple(known)
    issued = issue_certificate(
        root,
        job_key.public,
        serial=serial,
        not_before_ms=now_ms - limits.CLOCK_SKEW_MS,
        not_after_ms=now_ms + CERTIFICATE_LIFETIME_MS,
    )
    return issued, (*known, issued)


def standing_certificate(known: Sequence[Statement], *, root_key: str, job_key: str, now_ms: int) -> Statement | None:
    """Return the newest certificate of a job key that holds now, None where there is none."""
    for statement in reversed(known):
        certificate = _readable(statement, root_key=root_key, now_ms=now_ms)
        if certificate is not None and certificate.job_key == job_key:
            return statement
    return None


def _readable(statement: Statement, *, root_key: str, now_ms: int) -> Certificate | None:
    try:
        return open_certificate(statement, now_ms=now_ms, root_key=root_key)
    except ProtocolError:
        return None
