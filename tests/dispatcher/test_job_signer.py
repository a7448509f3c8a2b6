"""The job key's certificate: kept while it is young, renewed in time, never with a serial used before."""

import pytest

from dispatcher.job_signer import CERTIFICATE_LIFETIME_MS, JobSigner, certify
from protocol.errors import BadSignature
from protocol.job import Job, open_certificate, open_job
from protocol.keys import SigningKey
from tests.dispatcher.conftest import START_MS, Room

ROOT, JOB_KEY, OTHER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))


def test_a_certificate_is_kept_for_half_its_life_and_then_renewed() -> None:
    first, all_first = certify((), root=ROOT, job_key=JOB_KEY, now_ms=START_MS)
    half_ms = CERTIFICATE_LIFETIME_MS // 2
    kept, all_kept = certify(all_first, root=ROOT, job_key=JOB_KEY, now_ms=START_MS + half_ms - 1)
    assert (kept, all_kept) == (first, all_first)
    renewed, all_renewed = certify(all_first, root=ROOT, job_key=JOB_KEY, now_ms=START_MS + half_ms)
    assert all_renewed == (first, renewed)
    assert open_certificate(renewed, now_ms=START_MS + CERTIFICATE_LIFETIME_MS, root_key=ROOT.public).serial == 1


def test_another_job_key_or_root_gets_its_own_certificate() -> None:
    _, known = certify((), root=ROOT, job_key=JOB_KEY, now_ms=START_MS)
    other, known = certify(known, root=ROOT, job_key=OTHER, now_ms=START_MS)
    assert open_certificate(other, now_ms=START_MS, root_key=ROOT.public).serial == 1
    moved, known = certify(known, root=OTHER, job_key=JOB_KEY, now_ms=START_MS)
    assert open_certificate(moved, now_ms=START_MS, root_key=OTHER.public).serial == 0
    assert len(known) == 3


def test_what_it_signs_holds_for_the_certified_key_alone(room: Room) -> None:
    certificate, _ = certify((), root=ROOT, job_key=JOB_KEY, now_ms=START_MS)
    job = Job(
        job_id=room.new_id(),
        lease=1,
        node_key=OTHER.public,
        url="https://a.example/",
        purpose="rag",
        issued_ms=START_MS,
        expires_ms=START_MS + 1,
    )
    opened = open_certificate(certificate, now_ms=START_MS)
    signed = JobSigner(JOB_KEY, certificate).sign_job(job)
    assert open_job(signed, certificate=opened, node_key=OTHER.public, now_ms=START_MS) == job
    with pytest.raises(BadSignature):
        open_job(
            JobSigner(OTHER, certificate).sign_job(job), certificate=opened, node_key=OTHER.public, now_ms=START_MS
        )
