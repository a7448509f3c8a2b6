"""A network whose chain is another process at `MEADOW_SOLANA_URL`: it outlives the network and is used as it stands."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provenance.adapters.litesvm_process import EmbeddedChain
from tests.network.processes import Up, run, until
from tests.network.site import serving


@contextmanager
def chain_at(folder: Path) -> Iterator[str]:
    """Run a simulator of its own; its address."""
    with asyncio.Runner() as runner:
        chain = runner.run(EmbeddedChain.start(folder, slot_ms=100))
        try:
            yield chain.url
        finally:
            runner.run(chain.stop())


def test_a_network_on_a_chain_of_its_own_choice_is_anchored_paid_and_audited(tmp_path: Path) -> None:
    with chain_at(tmp_path / "chain") as url, serving() as site:
        up = Up(tmp_path / "up", nodes=1, sites=[site.address], env={"MEADOW_SOLANA_URL": url}).started()
        try:
            assert up.ready.solana_url == url
            folder = str(tmp_path / "set")
            batch_id = up.lab.batch([site.url("/p/one")])
            up.lab.wait(batch_id)
            until("the node is paid", lambda: up.state().credits.paid > 0)
            where = ("--api-url", up.ready.api_url, "--api-key", up.ready.api_key)
            built = run("dispatcher.cli", "dataset", "build", "--job", batch_id, "--out", folder, *where, env=up.env)
            assert built.returncode == 0, built.stderr
            until("the log is anchored", lambda: up.state().anchored_size == up.state().log_entries)
        finally:
            up.close()
        audit = run("provenance.cli", "dataset", folder, "--log", str(up.data / "log"), "--solana", url, env=up.env)
        assert audit.returncode == 0, audit.stdout
        assert "RESULT: nothing failed" in audit.stdout


def test_a_cluster_without_a_token_is_named(tmp_path: Path) -> None:
    with chain_at(tmp_path / "chain") as url:
        up = Up(
            tmp_path / "up",
            env={"MEADOW_SOLANA_URL": url, "MEADOW_TOKEN_MINT": "So11111111111111111111111111111111111111112"},
        )
        ran = run("dispatcher.cli", "up", "--data", str(up.data), "--port", "0", "--nodes", "0", env=up.env)
        assert ran.returncode == 1
        assert "MEADOW_TOKEN_MINT" in ran.stderr
