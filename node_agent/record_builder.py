"""From a fetched page to the signed record that travels with it (PROTOCOL.md, section 4)."""

import re
from typing import get_args

from node_agent.fetching import FetchedPage
from node_agent.job_check import AllowedJob
from protocol import limits
from protocol.keys import SigningKey
from protocol.record import Header, HeaderName, Record
from protocol.statements import Kind, Statement, sign

_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def build_record(
    allowed: AllowedJob, page: FetchedPage, *, key: SigningKey, wallet: str, started_ms: int, finished_ms: int
) -> Statement:
    """Sign what was fetched for a job. Times are UTC milliseconds."""
    job = allowed.job
    record = Record(
        job_id=job.job_id,
        lease=job.lease,
        job_hash=allowed.job_hash,
        node_key=key.public,
        wallet=wallet,
        url=job.url,
        final_url=page.final_url,
        hops=page.hops,
        mode=job.mode,
        purpose=job.purpose,
        status=page.status,
        headers=recorded_headers(page.headers),
        content_type=_joined(page.headers, "content-type"),
        content_encoding=page.content_encoding,
        body_hash=page.body_hash,
        body_bytes=page.body_bytes,
        wire_bytes=len(page.payload),
        started_ms=started_ms,
        finished_ms=finished_ms,
    )
    return sign(Kind.RECORD, record, key)


def recorded_headers(headers: tuple[tuple[str, str], ...]) -> tuple[Header, ...]:
    """Keep the headers a record keeps, in its order; a repeated one is joined by commas (RFC 9110, section 5.3)."""
    kept = ((name, _joined(headers, name)) for name in get_args(HeaderName))
    return tuple(Header(name, value) for name, value in kept if value is not None)


def _joined(headers: tuple[tuple[str, str], ...], wanted: str) -> str | None:
    values = [value for name, value in headers if name == wanted]
    joined = ", ".join(values)
    is_kept = values and len(joined) <= limits.HEADER_VALUE_BYTES and _FIELD_VALUE.fullmatch(joined)
    return joined if is_kept else None
