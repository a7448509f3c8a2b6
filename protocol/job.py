"""The job a dispatcher sends to one node, and the certificate of the key that signs it (PROTOCOL.md, section 3)."""

from typing import Literal

import msgspec

from protocol import limits
from protocol.errors import Expired, NotForMe
from protocol.field_types import PublicKeyText, Uint, Uuid7Text
from protocol.keys import SigningKey
from protocol.statements import Kind, Statement, open_self_signed, open_statement, sign

Purpose = Literal["train-ai", "search", "rag", "research", "archive", "monitoring"]
"""What a lab declares it wants a page for; the vocabulary extends that of AIPREF Content-Usage."""
Mode = Literal["direct", "relayed"]


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root key's word that `job_key` may sign jobs from `not_before_ms` until `not_after_ms`."""

    v: Literal[1] = 1
    root_key: PublicKeyText
    job_key: PublicKeyText
    serial: Uint
    not_before_ms: Uint
    not_after_ms: Uint


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One page to fetch, leased to one node. `lease` is the fencing token of this lease of `job_id`."""

    v: Literal[1] = 1
    job_id: Uuid7Text
    lease: Uint
    node_key: PublicKeyText
    url: str
    method: Literal["GET"] = "GET"
    mode: Mode = "direct"
    purpose: Purpose
    accept_language: str | None = None
    max_wire_bytes: Uint = limits.WIRE_BYTES
    max_body_bytes: Uint = limits.BODY_BYTES
    max_redirects: Uint = limits.REDIRECTS
    timeout_ms: Uint = limits.JOB_TIMEOUT_MS
    issued_ms: Uint
    expires_ms: Uint


def issue_certificate(
    root: SigningKey, job_key: str, *, serial: int, not_before_ms: int, not_after_ms: int
) -> Statement:
    """Certify a job key with the root key."""
    payload = Certificate(
        root_key=root.public, job_key=job_key, serial=serial, not_before_ms=not_before_ms, not_after_ms=not_after_ms
    )
    return sign(Kind.CERTIFICATE, payload, root)


def open_certificate(statement: Statement, *, now_ms: int, root_key: str | None = None) -> Certificate:
    """Verify a certificate, that it is valid now, and, where `root_key` is given, that this root issued it."""
    certificate = open_self_signed(statement, Kind.CERTIFICATE, Certificate, "root_key")
    if root_key is not None and certificate.root_key != root_key:
        raise NotForMe("the dispatcher's root key is not the one this node trusts")
    check_validity(
        "job-key certificate", certificate.not_before_ms - limits.CLOCK_SKEW_MS, certificate.not_after_ms, now_ms
    )
    return certificate


def open_job(statement: Statement, *, certificate: Certificate, node_key: str, now_ms: int) -> Job:
    """Verify a job: signed by the certified key, for this node, and in its time."""
    job = open_statement(statement, Kind.JOB, Job, certificate.job_key)
    if job.node_key != node_key:
        raise NotForMe("the job is leased to another node")
    check_validity("job", job.issued_ms - limits.CLOCK_SKEW_MS, job.expires_ms, now_ms)
    return job


def check_validity(what: str, from_ms: int, until_ms: int, now_ms: int) -> None:
    """Raise Expired unless from_ms <= now_ms < until_ms."""
    if now_ms < from_ms:
        raise Expired(f"the {what} is dated {from_ms - now_ms} ms ahead of this clock; check the clock")
    if now_ms >= until_ms:
        raise Expired(f"the {what} expired {now_ms - until_ms} ms ago")
