"""One small network's legacy, made of real parts: 300 signed records in a published log, a dataset in both formats,
four anchors and a paid epoch on an embedded Solana chain. Tests copy it, damage the copy, and audit that."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from solders.keypair import Keypair
from typer.testing import CliRunner

from cleaning.adapters.jsonl_dataset import JsonlFile
from cleaning.adapters.parquet_dataset import ParquetFile
from protocol.dataset import (
    DatasetStatement,
    DroppedInput,
    Manifest,
    ManifestFile,
    Row,
    RowContent,
    RowLink,
    RowProvenance,
    RowTable,
    content_hash,
    dropped_hash,
    row_leaf,
    with_provenance,
)
from protocol.ids import uuid7
from protocol.job import issue_certificate
from protocol.keys import SigningKey, to_base64url
from protocol.record import Record
from protocol.statements import Kind, sign
from provenance.adapters.local_tiles import LocalTiles
from provenance.adapters.solana_anchor import send_anchor
from provenance.adapters.solana_payout import pay_epoch
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.adapters.solana_token import ensure_mint
from provenance.anchor import Anchor
from provenance.checkpoint import NoteSigner, sign_checkpoint
from provenance.cli import app
from provenance.epoch import encode, make_statement
from provenance.log_info import (
    LogInfo,
    encode_certificates,
    encode_log_info,
    encode_signatures,
    epoch_path,
    payouts_path,
)
from provenance.log_writer import publish, write_checkpoint
from provenance.merkle import leaf_hash, root_of
from provenance.outbox import InMemoryOutbox
from provenance.tariff import TARIFF, TOKEN_DECIMALS, reward

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "log.example.org/meadow"
RECORDS = 300
CHECKPOINTS = (5, 256, 290, RECORDS + 1)
"""The last one holds the dataset's statement too."""
PAID_RECORDS = 280
CREATED_MS = 1_790_000_000_000
DROPPED = (DroppedInput(url="https://site.example/x", reason="no_text"),)
DATASET_ID, BATCH_ID = uuid7(CREATED_MS, bytes(10)), uuid7(CREATED_MS, bytes(9) + b"b")


@dataclass(frozen=True)
class Network:
    """Where everything lies: `log`, `dataset`, `bodies`, `chain` (the chain's data folder)."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def bodies(self) -> Path:
        return self.folder / "bodies"

    @property
    def chain(self) -> Path:
        return self.folder / "chain"

    def info(self) -> LogInfo:
        return msgspec.json.decode((self.log / "meadow.json").read_bytes(), type=LogInfo)

    def manifest(self) -> Manifest:
        return msgspec.json.decode((self.dataset / "manifest.json").read_bytes(), type=Manifest)


@contextmanager
def running_chain(folder: Path) -> Iterator[str]:
    """Serve the embedded chain of a folder; yields its URL."""
    command = [sys.executable, "-m", "provenance.adapters.litesvm_server", "--data", str(folder), "--slot-ms", "20"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def body_of(index: int) -> bytes:
    return f"<p>page {index}</p>".encode()


def make_record(index: int, wallets: Sequence[Keypair]) -> tuple[Record, bytes]:
    """Make a record and its signed statement. Every 30th page is gone, every 50th forbidden."""
    node = SigningKey(seed(f"node {index % 5}"))
    status = 404 if index % 30 == 7 else 403 if index % 50 == 9 else 200
    body = body_of(index)
    record = Record(
        job_id=uuid7(CREATED_MS, seed(f"job {index}")[:10]),
        lease=1,
        job_hash=hashlib.sha256(b"job %d" % index).hexdigest(),
        node_key=node.public,
        wallet=str(wallets[index % 5].pubkey()),
        url=f"https://site.example/{index}",
        final_url=f"https://site.example/{index}",
        mode="direct",
        purpose="research",
        status=status,
        content_type="text/html",
        content_encoding="identity",
        body_hash=hashlib.sha256(body).hexdigest(),
        body_bytes=len(body),
        wire_bytes=len(body) + 1024 * (index % 9),
        started_ms=CREATED_MS - 10_000,
        finished_ms=CREATED_MS - 9_000 + index,
    )
    return record, sign(Kind.RECORD, record, node).to_bytes()


def make_row(index: int, record: Record, statement: bytes) -> Row:
    content = RowContent(
        url=record.url,
        final_url=record.final_url,
        fetched_ms=record.finished_ms,
        status=record.status,
        content_type=record.content_type,
        title=f"Page {index}",
        author=None,
        published=None,
        language="en",
        page_type="article",
        text=f"The meadow on page {index} is green — très verte, 草地.",
        markdown=f"The **meadow** on page {index}",
        links=(RowLink("https://site.example/", "home"),),
        tables=(RowTable(None, ("a", "b"), (("1", "2"),)),),
        structured_data=('{"@type":"Article"}',),
    )
    provenance = RowProvenance(
        content_hash=content_hash(content),
        record=to_base64url(statement),
        log_origin=ORIGIN,
        log_index=index,
        integrity="direct",
    )
    return with_provenance(content, provenance)


def write_dataset(network: Network, rows: Sequence[Row], job_key: SigningKey) -> bytes:
    """Write both files and the manifest; return the dataset's statement."""
    network.dataset.mkdir()
    jsonl, parquet = JsonlFile(network.dataset / "data.jsonl"), ParquetFile(network.dataset / "data.parquet")
    for row in rows:
        jsonl.write(row)
        parquet.write(row)
    jsonl.close()
    parquet.close()
    root = root_of(leaf_hash(row_leaf(row)) for row in rows).hex()
    signed = DatasetStatement(
        dataset_id=DATASET_ID,
        batch_id=BATCH_ID,
        rows=len(rows),
        root=root,
        dropped_hash=dropped_hash(DROPPED),
        created_ms=CREATED_MS,
        signer=job_key.public,
    )
    statement = sign(Kind.DATASET, signed, job_key).to_bytes()
    files = []
    for name in ("data.jsonl", "data.parquet"):
        data = (network.dataset / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        files.append(ManifestFile(name=name, bytes=len(data), sha256=digest, rows=len(rows)))
    manifest = Manifest(
        dataset_id=DATASET_ID,
        batch_id=BATCH_ID,
        created_ms=CREATED_MS,
        rows=len(rows),
        files=tuple(files),
        dropped=DROPPED,
        drop_reasons={"no_text": 1},
        root=root,
        statement=to_base64url(statement),
        statement_log_index=RECORDS,
        log_origin=ORIGIN,
        tool_version="0.1.0",
    )
    (network.dataset / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return statement


async def build(network: Network, rpc_url: str) -> None:
    """Build everything: records, dataset, log, anchors, one payout epoch."""
    root_key, job_key = SigningKey(seed("root")), SigningKey(seed("job"))
    signer = NoteSigner(ORIGIN, SigningKey(seed("log")))
    operator, mint = Keypair(), Keypair()
    (network.folder / "operator.json").write_text(operator.to_json())
    wallets = [Keypair() for _ in range(5)]
    made = [make_record(index, wallets) for index in range(RECORDS)]
    rows = [make_row(index, *each) for index, each in enumerate(made) if each[0].status == 200]
    network.bodies.mkdir()
    for index in range(RECORDS):
        body = body_of(index)
        (network.bodies / hashlib.sha256(body).hexdigest()).write_bytes(body)
    entries = [statement for _, statement in made] + [write_dataset(network, rows, job_key)]

    async def entries_from(start: int, end: int) -> Sequence[bytes]:
        return entries[start:end]

    store = LocalTiles(network.log)
    certificate = issue_certificate(
        root_key, job_key.public, serial=1, not_before_ms=CREATED_MS - 1_000, not_after_ms=CREATED_MS + 1_000
    )
    await store.replace("certificates.json", encode_certificates((certificate,)))
    async with SolanaRpc.connect(rpc_url) as rpc:
        sender = Sender(rpc, InMemoryOutbox(), commitment="confirmed", poll_s=0.02)
        await rpc.airdrop(str(operator.pubkey()), 10**10)
        while not await rpc.balance(str(operator.pubkey())):
            await asyncio.sleep(0.02)
        await ensure_mint(sender, operator, mint, 10**12)
        size, root = 0, None
        for sequence, new_size in enumerate(CHECKPOINTS):
            root = await publish(store, entries_from, old_size=size, new_size=new_size, old_root=root)
            await write_checkpoint(store, new_size, sign_checkpoint(ORIGIN, new_size, root, signer))
            await send_anchor(sender, operator, Anchor(ORIGIN, new_size, root, sequence))
            size = new_size
        credits: dict[str, list[tuple[int, int]]] = {}
        for index, (record, _) in enumerate(made[:PAID_RECORDS]):
            amount = reward(record.mode, record.wire_bytes, record.status)
            if amount:
                credits.setdefault(record.wallet, []).append((index, amount))
        statement = encode(
            make_statement(
                credits,
                origin=ORIGIN,
                epoch=0,
                tariff=TARIFF,
                mint=str(mint.pubkey()),
                decimals=TOKEN_DECIMALS,
                payer=str(operator.pubkey()),
            )
        )
        batches = await pay_epoch(sender, operator, statement)
        await store.write_once(epoch_path(0), statement)
        await store.replace(payouts_path(0), encode_signatures(tuple(batch.signature for batch in batches)))
        info = LogInfo(
            origin=ORIGIN,
            vkey=signer.vkey,
            root_key=root_key.public,
            anchor_address=str(operator.pubkey()),
            payer_address=str(operator.pubkey()),
            mint=str(mint.pubkey()),
            genesis_hash=await rpc.call(str, "getGenesisHash"),
            simulator=True,
            tariff=TARIFF,
        )
        await store.replace("meadow.json", encode_log_info(info))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The undamaged network; tests do not write to it."""
    network = Network(tmp_path_factory.mktemp("network"))
    network.chain.mkdir()
    with running_chain(network.chain) as url:
        asyncio.run(build(network, url))
    return network


@pytest.fixture(scope="session")
def solana_url(pristine: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The chain of the undamaged network, served from a copy."""
    folder = tmp_path_factory.mktemp("chain") / "chain"
    shutil.copytree(pristine.chain, folder)
    with running_chain(folder) as url:
        yield url


@pytest.fixture
def network(pristine: Network, tmp_path: Path) -> Network:
    """A copy to damage."""
    shutil.copytree(pristine.folder, tmp_path / "network")
    return Network(tmp_path / "network")


@dataclass(frozen=True)
class Run:
    """A finished `meadow-verify`."""

    code: int
    output: str
    errors: str
    seconds: float

    def outcomes(self) -> set[tuple[str, str]]:
        """Return every (step, outcome) of a `--json` report."""
        report = json.loads(self.output)["report"]
        steps = report["whole"] + [step for row in report["rows"] for step in row["steps"]]
        return {(step["step"], step["outcome"]) for step in steps}

    def failed(self) -> set[str]:
        """Return the steps that failed."""
        return {step for step, outcome in self.outcomes() if outcome == "FAILED"}


@pytest.fixture(scope="session")
def verify() -> Callable[..., Run]:
    """Run `meadow-verify` with these arguments in this process."""
    runner = CliRunner()

    def run(*arguments: object) -> Run:
        start = time.monotonic()
        done = runner.invoke(app, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Run(done.exit_code, done.stdout, done.stderr, time.monotonic() - start)

    return run


@pytest.fixture(scope="session")
def serve_chain() -> Callable[[Path], object]:
    """Serve the chain of a folder while a `with` block runs."""
    return running_chain
