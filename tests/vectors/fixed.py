"""The fixed keys, times and payloads that every vector is made of. The seeds are public: never use them elsewhere."""

from protocol.dataset import DatasetStatement, DroppedInput, RowContent, RowLink, RowTable, dropped_hash
from protocol.job import Job, issue_certificate
from protocol.keys import SigningKey
from protocol.messages import Hello
from protocol.record import Header, Record
from protocol.statements import Kind, Statement, sign, signed_bytes

ROOT = SigningKey(bytes(range(32)))
JOB_KEY = SigningKey(bytes(range(32, 64)))
NODE = SigningKey(bytes(range(64, 96)))
OTHER = SigningKey(bytes(range(96, 128)))

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
WALLET = "2Zqh2jyHWKtqxGy4zMjicNRFq6EPa5JMkhxKTkyVP2yJ"
JOB_ID = "01a3185c-5000-7000-8000-000000000001"
DATASET_ID = "01a3185c-5000-7000-8000-0000000000d5"
BATCH_ID = "01a3185c-5000-7000-8000-0000000000ba"
AUDIENCE = "wss://gateway.example.org"
NONCE = bytes(range(128, 160))
BODY = b"<!doctype html><title>Meadow</title><p>Hello, meadow.</p>\n"
BODY_HASH = "e669fd58b6cf4181136963a1afc7fdc628e90582b217863eac601b926cb9ee3f"

CERTIFICATE = issue_certificate(
    ROOT, JOB_KEY.public, serial=1, not_before_ms=NOW_MS - HOUR_MS, not_after_ms=NOW_MS + HOUR_MS
)
JOB = Job(
    job_id=JOB_ID,
    lease=1_843_200_000_000_001,
    node_key=NODE.public,
    url="https://example.org/articles?id=7",
    purpose="search",
    accept_language="de, en;q=0.5",
    issued_ms=NOW_MS,
    expires_ms=NOW_MS + 120_000,
)
JOB_STATEMENT = sign(Kind.JOB, JOB, JOB_KEY)
HELLO = Hello(
    nonce="gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8",
    audience=AUDIENCE,
    expires_ms=NOW_MS + 30_000,
    node_key=NODE.public,
    wallet=WALLET,
    agent="meadow-node/0.1.0",
    country="PT",
    purposes=("search", "research"),
    max_concurrent_jobs=4,
)
ROW = RowContent(
    url="https://example.org/a",
    final_url="https://example.org/a/",
    fetched_ms=NOW_MS,
    status=200,
    content_type="text/html; charset=utf-8",
    title='A "quoted" title \\ with a slash / and a tab\t',
    author=None,
    published="2026-11-22",
    language="zh",
    page_type="article",
    text="草地 \u2028 line separator, \x7f delete, \x01 control, \U0001f33e plant",
    markdown="# 草地\n\n[link](https://example.org/b)",
    links=(RowLink(url="https://example.org/b", text="link"),),
    tables=(RowTable(caption=None, header=("a", "b"), rows=(("1", "2"), ("3", ""))),),
    structured_data=('{"@type":"Article","n":1.50}',),
)


def record(**changed: object) -> Record:
    """Make the record of the fixed job, with fields changed."""
    fields: dict[str, object] = {
        "job_id": JOB_ID,
        "lease": JOB.lease,
        "job_hash": JOB_STATEMENT.digest(),
        "node_key": NODE.public,
        "wallet": WALLET,
        "url": JOB.url,
        "final_url": "https://www.example.org/articles?id=7",
        "hops": (),
        "mode": "direct",
        "purpose": "search",
        "status": 200,
        "headers": (Header("etag", '"a1"'), Header("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT")),
        "content_type": "text/html; charset=utf-8",
        "content_encoding": "identity",
        "body_hash": BODY_HASH,
        "body_bytes": len(BODY),
        "wire_bytes": len(BODY),
        "started_ms": NOW_MS + 100,
        "finished_ms": NOW_MS + 350,
    }
    return Record(**(fields | changed))  # type: ignore[arg-type]  # the vectors need values of wrong types too


def dataset_statement() -> DatasetStatement:
    """Make the fixed dataset's statement."""
    return DatasetStatement(
        dataset_id=DATASET_ID,
        batch_id=BATCH_ID,
        rows=3,
        root="5a" * 32,
        dropped_hash=dropped_hash(
            [DroppedInput(url="https://example.org/gone", reason="http_status", detail="status 410")]
        ),
        created_ms=NOW_MS,
        signer=JOB_KEY.public,
    )


def sign_bytes(kind: Kind, payload: bytes, key: SigningKey) -> Statement:
    """Sign payload bytes as they are, canonical or not."""
    return Statement(kind, key.sign(signed_bytes(kind, payload)), payload)
