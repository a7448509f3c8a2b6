"""The auditor, as the process a stranger runs: what holds is OK, and each damage fails at the step that names it."""

import asyncio
import functools
import http.server
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from solders.keypair import Keypair

from protocol.dataset import Row, content_hash, content_of, row_leaf
from provenance.adapters.solana_anchor import memo_instruction, send_anchor
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Intent, Sender
from provenance.anchor import Anchor
from provenance.checkpoint import open_checkpoint, parse_vkey
from provenance.merkle import leaf_hash
from provenance.outbox import InMemoryOutbox

Verify = Callable[..., Any]
Serve = Callable[[Path], AbstractContextManager[str]]
STEPS = ["content", "record", "log entry", "inclusion", "checkpoint", "cosignatures", "anchor", "credit", "body"]


def flip(path: Path, position: int) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x01
    path.write_bytes(data)


def change_line(path: Path, number: int, old: str, new: str) -> None:
    """Replace a piece of one line."""
    lines = path.read_text().split("\n")
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    path.write_text("\n".join(lines))


def test_an_honest_dataset_passes_every_step(pristine: Any, solana_url: str, verify: Verify) -> None:
    key = pristine.info().vkey
    run = verify(
        "dataset", pristine.dataset, "--log", pristine.log, "--solana", solana_url, "--json",
        "--bodies", pristine.bodies, "--log-key", key,
    )  # fmt: skip
    assert run.code == 0, run.output[-3000:] + run.errors
    report = json.loads(run.output)["report"]
    assert report["simulator"] is True
    assert all([step["step"] for step in row["steps"]] == STEPS for row in report["rows"])
    assert len(report["rows"]) == pristine.manifest().rows > 270
    whole = {step["step"]: step["outcome"] for step in report["whole"]}
    assert set(whole.values()) == {"OK"}, whole
    for row in report["rows"]:
        outcomes = {step["step"]: step["outcome"] for step in row["steps"]}
        late = row["log_index"] >= 280
        assert outcomes.pop("credit") == ("NOT CHECKED" if late else "OK")
        assert outcomes.pop("cosignatures") == "NOT CHECKED"
        assert set(outcomes.values()) == {"OK"}, row
    assert run.seconds < 12


def test_without_a_chain_its_steps_are_not_checked(pristine: Any, verify: Verify) -> None:
    run = verify("dataset", pristine.dataset, "--log", pristine.log, "--json")
    assert run.code == 0
    assert {outcome for step, outcome in run.outcomes() if step in ("chain", "anchor", "credit")} == {"NOT CHECKED"}


def test_a_flipped_byte_of_a_jsonl_text(network: Any, solana_url: str, verify: Verify) -> None:
    change_line(network.dataset / "data.jsonl", 4, "green", "grean")
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() == {"content", "manifest", "dataset root"}


def test_a_changed_parquet_text_with_a_jsonl_that_is_honest(network: Any, solana_url: str, verify: Verify) -> None:
    rewrite_parquet(network.dataset, lambda row: msgspec.structs.replace(row, text=row.text + "!"))
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() == {"content", "manifest", "dataset root"}


def test_a_changed_text_whose_hash_was_changed_too(network: Any, solana_url: str, verify: Verify) -> None:
    def forge(row: Row) -> Row:
        changed = msgspec.structs.replace(row, text="forged")
        hashed = msgspec.structs.replace(row.provenance, content_hash=content_hash(content_of(changed)))
        return msgspec.structs.replace(changed, provenance=hashed)

    rewrite_parquet(network.dataset, forge)
    lines = (network.dataset / "data.jsonl").read_bytes().splitlines()
    lines[2] = row_leaf(forge(msgspec.json.decode(lines[2], type=Row)))
    (network.dataset / "data.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert "dataset root" in run.failed()


@pytest.mark.parametrize("position", [4, 200, 5_000, -20, -500])
def test_any_flipped_byte_of_the_parquet_file(network: Any, solana_url: str, verify: Verify, position: int) -> None:
    flip(network.dataset / "data.parquet", position)
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert "manifest" in run.failed()


def test_a_dropped_page_taken_off_the_manifest_is_named(network: Any, solana_url: str, verify: Verify) -> None:
    manifest = network.manifest()
    assert manifest.dropped
    forged = msgspec.structs.replace(manifest, dropped=(), drop_reasons={})
    (network.dataset / "manifest.json").write_bytes(msgspec.json.encode(forged))
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() == {"dataset statement"}


def rewrite_parquet(folder: Path, change: Callable[[Row], Row]) -> None:
    """Write the Parquet file again, its third row changed."""
    from cleaning.adapters.parquet_dataset import ParquetFile, read_parquet

    rows = list(read_parquet(folder / "data.parquet"))
    rows[2] = change(rows[2])
    (folder / "data.parquet").unlink()
    file = ParquetFile(folder / "data.parquet")
    for row in rows:
        file.write(row)
    file.close()


def test_a_flipped_byte_of_a_record(network: Any, solana_url: str, verify: Verify) -> None:
    lines = (network.dataset / "data.jsonl").read_text().split("\n")
    record = json.loads(lines[6])["provenance"]["record"]
    forged = record[:200] + ("A" if record[200] != "A" else "B") + record[201:]
    change_line(network.dataset / "data.jsonl", 6, record, forged)
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert {"record", "log entry", "inclusion"} <= run.failed()
    assert "content" not in run.failed()


def test_a_row_that_says_something_else_than_its_record(network: Any, solana_url: str, verify: Verify) -> None:
    lines = (network.dataset / "data.jsonl").read_bytes().splitlines()
    row = msgspec.json.decode(lines[0], type=Row)
    changed = msgspec.structs.replace(row, url="https://other.example/")
    hashed = msgspec.structs.replace(row.provenance, content_hash=content_hash(content_of(changed)))
    single = network.folder / "row.jsonl"
    single.write_bytes(row_leaf(msgspec.structs.replace(changed, provenance=hashed)))
    run = verify("record", single, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() == {"record"}


def test_every_tile_and_bundle_ever_written_is_guarded(network: Any, solana_url: str, verify: Verify) -> None:
    paths = sorted(path for path in (network.log / "tile").rglob("*") if path.is_file())
    names = [path.relative_to(network.log).as_posix() for path in paths]
    assert "tile/0/000.p/5" in names
    assert "tile/entries/001.p/34" in names
    assert len(names) >= 9
    for path, name in zip(paths, names, strict=True):
        honest = path.read_bytes()
        flip(path, len(honest) // 2)
        run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json", "--rows", 20)
        assert run.code == 1, name
        details = [step["detail"] for step in json.loads(run.output)["report"]["whole"] if step["step"] == "log files"]
        assert name in details[0], (name, details)
        path.write_bytes(honest)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("tile/0/000.p/5", {"log files", "anchor", "inclusion"}),
        ("tile/0/000", {"log files", "inclusion", "checkpoint", "anchor"}),
        ("tile/entries/000", {"log files", "log entry"}),
        ("tile/1/000.p/1", {"log files", "checkpoint", "anchor", "inclusion", "dataset in log"}),
    ],
)
def test_a_damaged_tile_fails_the_steps_that_read_it(
    network: Any, solana_url: str, verify: Verify, name: str, steps: set[str]
) -> None:
    flip(network.log / name, 100 if name.startswith("tile/entries") else 3)
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert steps <= run.failed(), run.failed()


def test_a_partial_tile_may_be_gone_once_the_full_tile_is_there(network: Any, solana_url: str, verify: Verify) -> None:
    shutil.rmtree(network.log / "tile" / "0" / "000.p")
    shutil.rmtree(network.log / "tile" / "entries" / "000.p")
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 0, run.failed()


def test_a_missing_tile_is_named(network: Any, solana_url: str, verify: Verify) -> None:
    (network.log / "tile/0/001.p/45").unlink()
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url)
    assert run.code == 1
    assert "tile/0/001.p/45 is missing" in run.output


@pytest.mark.parametrize("name", ["checkpoint", "checkpoints/5", "checkpoints/290"])
def test_a_flipped_byte_of_a_checkpoint(network: Any, solana_url: str, verify: Verify, name: str) -> None:
    path = network.log / name
    flip(path, path.read_bytes().index(b"\n\n") - 10)
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() & {"checkpoint", "newest checkpoint"}


@pytest.mark.parametrize("sequence", [0, 3])
def test_a_changed_root_in_an_anchored_memo(network: Any, serve_chain: Serve, verify: Verify, sequence: int) -> None:
    with sqlite3.connect(network.chain / "chain.sqlite3") as database:
        rows = database.execute("SELECT sequence, wire FROM tx").fetchall()
        [(key, wire)] = [row for row in rows if b"seq=%d" % sequence in row[1]]
        at = wire.index(b"root=") + 5
        changed = wire[:at] + (b"A" if wire[at : at + 1] != b"A" else b"B") + wire[at + 1 :]
        database.execute("UPDATE tx SET wire = ? WHERE sequence = ?", (changed, key))
    database.close()
    with serve_chain(network.chain) as url:
        run = verify("dataset", network.dataset, "--log", network.log, "--solana", url, "--json")
    assert run.code == 1
    assert run.failed() == {"anchor"}


@pytest.mark.parametrize("fault", ["other root", "withheld sequence", "not an anchor's text"])
def test_a_wrong_anchor_that_the_authority_itself_signed(
    network: Any, serve_chain: Serve, verify: Verify, fault: str
) -> None:
    async def send(url: str) -> None:
        operator = Keypair.from_json((network.folder / "operator.json").read_text())
        async with SolanaRpc.connect(url) as rpc:
            sender = Sender(rpc, InMemoryOutbox(), commitment="confirmed", poll_s=0.02)
            if fault == "not an anchor's text":
                memo = memo_instruction("meadow anchor v1 size=1", operator.pubkey())
                await sender.send_once(Intent("memo", bytes(32), [memo], [operator]))
                return
            opened = open_checkpoint(
                (network.log / "checkpoint").read_bytes(), log_key=parse_vkey(network.info().vkey)
            ).checkpoint
            root = leaf_hash(b"another history") if fault == "other root" else opened.root
            sequence = 4 if fault == "other root" else 5
            await send_anchor(sender, operator, Anchor(opened.origin, opened.size, root, sequence))

    with serve_chain(network.chain) as url:
        asyncio.run(send(url))
        run = verify("dataset", network.dataset, "--log", network.log, "--solana", url, "--json", "--rows", 3)
    assert (run.code, run.failed()) == (1, {"anchor"})


def test_an_epoch_statement_that_pays_another_amount(network: Any, solana_url: str, verify: Verify) -> None:
    path = network.log / "epochs/0.json"
    statement = json.loads(path.read_bytes())
    statement["wallets"][0]["credits"][0][1] += 4
    statement["wallets"][0]["total"] += 4
    statement["total"] += 4
    path.write_bytes(json.dumps(statement, separators=(",", ":")).encode())
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert run.failed() == {"credit", "payouts"}


def test_a_flipped_byte_of_a_page_body(network: Any, verify: Verify) -> None:
    body = sorted(network.bodies.iterdir())[17]
    flip(body, 3)
    run = verify("dataset", network.dataset, "--log", network.log, "--bodies", network.bodies, "--json")
    assert (run.code, run.failed()) in ((1, {"body"}), (0, set()))
    for body in network.bodies.iterdir():
        flip(body, 3)
    run = verify("dataset", network.dataset, "--log", network.log, "--bodies", network.bodies, "--json")
    assert (run.code, run.failed()) == (1, {"body"})


def test_a_pinned_log_key_that_the_log_does_not_have(network: Any, verify: Verify) -> None:
    from protocol.keys import SigningKey
    from provenance.checkpoint import NoteSigner

    other = NoteSigner("log.example.org/meadow", SigningKey(bytes(32))).vkey
    run = verify("dataset", network.dataset, "--log", network.log, "--log-key", other, "--json")
    assert run.code == 1
    assert {"log key pinned", "newest checkpoint"} <= run.failed()


def test_a_statement_by_a_key_nobody_certified(network: Any, verify: Verify) -> None:
    (network.log / "certificates.json").write_bytes(b"[]")
    run = verify("dataset", network.dataset, "--log", network.log, "--json")
    assert (run.code, run.failed()) == (1, {"job key"})


def test_a_log_over_http_is_guarded_as_well(network: Any, solana_url: str, verify: Verify) -> None:
    handler = functools.partial(QuietHandler, directory=str(network.log))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        arguments = ("dataset", network.dataset, "--log", address, "--solana", solana_url, "--json", "--rows", 5)
        assert verify(*arguments).code == 0
        flip(network.log / "tile/entries/000.p/5", 50)
        run = verify(*arguments)
        assert (run.code, run.failed()) == (1, {"log files"})
        assert "tile/entries/000.p/5" in run.output
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A plain static file server, as any log may be served."""

    def log_message(self, *_: object) -> None:
        pass


def test_of_a_huge_log_only_what_rows_and_anchors_need_is_read(
    network: Any, solana_url: str, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance.audit_files.WHOLE_LOG_ENTRIES", 300)
    arguments = ("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    run = verify(*arguments)
    assert run.code == 0
    assert ("log files", "NOT CHECKED") in run.outcomes()
    flip(network.log / "tile/0/000.p/5", 50)
    assert "anchor" in verify(*arguments).failed()


def test_anchors_of_a_longer_log_than_the_one_shown(network: Any, solana_url: str, verify: Verify) -> None:
    (network.log / "checkpoint").write_bytes((network.log / "checkpoints/290").read_bytes())
    run = verify("dataset", network.dataset, "--log", network.log, "--solana", solana_url, "--json")
    assert run.code == 1
    assert {"anchor", "dataset in log", "log entry"} <= run.failed()


def test_another_chain_than_the_one_the_log_names(
    pristine: Any, tmp_path: Path, serve_chain: Serve, verify: Verify
) -> None:
    with serve_chain(tmp_path) as url:
        run = verify("dataset", pristine.dataset, "--log", pristine.log, "--solana", url, "--json", "--rows", 2)
    assert run.code == 1
    assert "chain" in run.failed()
    assert ("anchor", "NOT CHECKED") in run.outcomes()
