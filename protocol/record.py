"""The record: a node's signed statement of what it fetched (PROTOCOL.md, section 4). It is the leaf of the log."""

from typing import Annotated, Literal, NamedTuple, get_args

import msgspec

from protocol import limits
from protocol.errors import NotForMe
from protocol.field_types import HeaderText, PublicKeyText, Sha256Text, Uint, UrlText, Uuid7Text, WalletText
from protocol.job import Job, Mode, Purpose
from protocol.statements import Kind, Statement, open_self_signed

ContentEncoding = Literal["identity", "gzip", "deflate", "br", "zstd"]


HeaderName = Literal[
    "content-language",
    "content-usage",
    "etag",
    "last-modified",
    "link",
    "retry-after",
    "tdm-policy",
    "tdm-reservation",
    "x-robots-tag",
]
RECORDED_HEADERS: tuple[HeaderName, ...] = get_args(HeaderName)
"""Response headers a record keeps, in this order. A value that is no `HeaderText` is left out."""
Status = Annotated[int, msgspec.Meta(ge=100, le=999)]
"""A three-digit HTTP status (RFC 9110, section 15)."""
Hops = Annotated[tuple[UrlText, ...], msgspec.Meta(max_length=limits.REDIRECTS)]
Evidence = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=limits.EVIDENCE_BYTES)], ...],
    msgspec.Meta(max_length=limits.EVIDENCE_ITEMS),
]


class Header(msgspec.Struct, frozen=True, array_like=True):
    """A response header: lower-case name, value as received (Latin-1 decoded)."""

    name: HeaderName
    value: HeaderText


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one node fetched for one lease of one job.

    `body_hash` is SHA-256 (lower-case hexadecimal) of the body after its Content-Encoding is removed: what
    `curl --compressed URL | sha256sum` prints. `wire_bytes` counts the encoded body. `wallet` is the Solana
    address the reward goes to. `hops` lists the URLs between `url` and `final_url`, in order.
    """

    v: Literal[1] = 1
    job_id: Uuid7Text
    lease: Uint
    job_hash: Sha256Text
    node_key: PublicKeyText
    wallet: WalletText
    url: UrlText
    final_url: UrlText
    hops: Hops = ()
    mode: Mode
    purpose: Purpose
    status: Status
    headers: Annotated[tuple[Header, ...], msgspec.Meta(max_length=len(RECORDED_HEADERS))] = ()
    content_type: HeaderText | None
    content_encoding: ContentEncoding
    body_hash: Sha256Text
    body_bytes: Uint
    wire_bytes: Uint
    started_ms: Uint
    finished_ms: Uint
    evidence: Evidence = ()


def open_record(statement: Statement) -> Record:
    """Verify a record by the node key it names."""
    return open_self_signed(statement, Kind.RECORD, Record, "node_key")


class Asked(NamedTuple):
    """What was asked of a node with one lease of a job: what its record repeats."""

    job_id: str
    lease: int
    job_hash: str
    node_key: str
    url: str
    purpose: Purpose
    mode: Mode

    @classmethod
    def by(cls, job: Job, job_hash: str) -> "Asked":
        """Return what a signed job asks; `job_hash` is its statement's digest."""
        return cls(job.job_id, job.lease, job_hash, job.node_key, job.url, job.purpose, job.mode)


def check_answers(record: Record, asked: Asked) -> None:
    """Raise NotForMe unless the record answers exactly this lease of this job."""
    for field, expected in asked._asdict().items():
        if getattr(record, field) != expected:
            raise NotForMe(f"the record's {field} is not the job's")
