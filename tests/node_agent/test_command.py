"""The real command in real processes."""

import asyncio
import contextlib
import csv
import io
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from protocol.messages import Availability, Balance, RefusalCode, Reputation, ReputationPart
from tests.node_agent.conftest import Site
from tests.node_agent.played_dispatcher import Dispatcher, Result

COMMAND = (sys.executable, "-m", "node_agent.cli")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MEADOW_")}


async def command(*arguments: str | Path, data: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        "--data",
        str(data),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def started(dispatcher: Dispatcher, data: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("run", "--dispatcher", dispatcher.url, "--data", str(data), "--accept-terms", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


async def waiting_page(site: Site) -> tuple[asyncio.Event, asyncio.Event]:
    begun, release = asyncio.Event(), asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        begun.set()
        await release.wait()
        return web.Response(text="done")

    site.handlers["/wait"] = waits
    return begun, release


async def test_without_consent_nothing_starts(tmp_path: Path, dispatcher: Dispatcher) -> None:
    code, _, err = await command("run", "--dispatcher", dispatcher.url, data=tmp_path / "n")
    assert code == 3
    assert "--accept-terms" in err
    assert not (tmp_path / "n" / "node.key").exists()
    assert not dispatcher.hellos


@pytest.mark.parametrize(("answer", "agrees"), [(b"n\n", False), (b"y\n", True)])
async def test_consent_is_asked_on_a_terminal(
    tmp_path: Path, dispatcher: Dispatcher, answer: bytes, agrees: bool
) -> None:
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "run", "--dispatcher", dispatcher.url, "--data", str(tmp_path / "n")),
        stdin=inner,
        stdout=inner,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    os.close(inner)
    try:
        shown = b""
        while b"Do you agree" not in shown:
            shown += await asyncio.to_thread(os.read, outer, 4_096)
        assert b"What it never does" in shown
        os.write(outer, answer)
        if agrees:
            await dispatcher.connected()
            process.send_signal(signal.SIGTERM)
        assert await process.wait() == (0 if agrees else 3)
    finally:
        await process.communicate()
        os.close(outer)
    assert bool(dispatcher.hellos) is agrees


async def test_interrupted_node_finishes_the_job_in_hand(tmp_path: Path, dispatcher: Dispatcher, site: Site) -> None:
    begun, release = await waiting_page(site)
    async with started(dispatcher, tmp_path, "--allow-test-site", site.host) as process:
        await dispatcher.connected()
        job = await dispatcher.give(site.url("/wait"))
        await begun.wait()
        process.send_signal(signal.SIGINT)
        stopping = Availability(max_concurrent_jobs=0, reason="stopping")
        await dispatcher.until(lambda: dispatcher.last_availability() == stopping)
        assert (await dispatcher.refusal(site.url("/other"))).reason is RefusalCode.STOPPING
        release.set()
        assert isinstance(await dispatcher.answer(job), Result)
        _, err = await process.communicate()
        assert process.returncode == 0
        assert "TEST SITES ALLOWED" in err.decode()
        assert "Traceback" not in err.decode()
    assert not list((tmp_path / "spool").iterdir())


async def test_second_interrupt_ends_at_once_and_loses_no_result(
    tmp_path: Path, dispatcher: Dispatcher, site: Site
) -> None:
    begun, _ = await waiting_page(site)
    dispatcher.acknowledges = False
    async with started(dispatcher, tmp_path, "--allow-test-site", site.host) as process:
        await dispatcher.connected()
        finished = await dispatcher.give(site.url("/finished"))
        await dispatcher.answer(finished)
        await dispatcher.give(site.url("/wait"))
        await begun.wait()
        process.send_signal(signal.SIGINT)
        await dispatcher.until(lambda: (dispatcher.last_availability() or Availability(max_concurrent_jobs=1)).reason)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 130
        assert "Traceback" not in err.decode()
    assert len(list((tmp_path / "spool").iterdir())) == 1
    dispatcher.acknowledges = True
    async with started(dispatcher, tmp_path, "--once") as process:
        await dispatcher.until(lambda: dispatcher.answers(finished)[1:])
        assert await process.wait() == 0
    _, out, _ = await command("log", "--json", data=tmp_path)
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["interrupted", "stored"]


async def test_second_node_on_the_same_folder_is_refused(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with started(dispatcher, tmp_path) as process:
        await dispatcher.connected()
        code, _, err = await command("run", "--dispatcher", dispatcher.url, "--accept-terms", data=tmp_path)
        assert code == 4
        assert "another meadow-node runs" in err
        process.kill()
        await process.wait()
    async with started(dispatcher, tmp_path):
        await dispatcher.connected(sessions=2)


async def test_running_node_is_steered_by_the_other_commands(
    tmp_path: Path, dispatcher: Dispatcher, site: Site
) -> None:
    async with started(dispatcher, tmp_path, "--allow-test-site", site.host, "--purpose", "search") as process:
        await dispatcher.connected()
        assert dispatcher.hellos[0].purposes == ("search",)
        await dispatcher.result(site.url("/one"))
        await dispatcher.refusal(site.url("/two"), purpose="train-ai")
        assert (await command("pause", data=tmp_path))[0] == 0
        await dispatcher.until(lambda: (dispatcher.last_availability() or Availability(max_concurrent_jobs=1)).reason)
        code, out, _ = await command("status", "--json", data=tmp_path)
        status = json.loads(out)
        assert (code, status["running"], status["paused"], status["takes_jobs"]) == (0, True, True, False)
        assert (status["today_jobs"], status["reward_logged"], status["waiting_results"]) == (1, 7, 0)
        assert "reward_paid" not in status
        await dispatcher.send(Balance(pending=1, confirmed=2, paid=3, void=4, time_ms=5))
        async with asyncio.timeout(8):
            while "reward_paid" not in (told := json.loads((await command("status", "--json", data=tmp_path))[1])):
                await asyncio.sleep(0.05)
        rewards = [told[f"reward_{state}"] for state in ("pending", "confirmed", "paid", "void")]
        assert rewards == [1, 2, 3, 4]
        assert "reputation" not in status
        lie = "all is well\nwallet            somebody else's\x1b[2J"
        parts = (
            ReputationPart(name="answers", value=995, reason="1,204 of 1,210 answers were accepted"),
            ReputationPart(name="manners", value=7, reason=lie),
        )
        await dispatcher.send(Reputation(score=995, parts=parts, time_ms=5))
        async with asyncio.timeout(8):
            while "reputation" not in (told := json.loads((await command("status", "--json", data=tmp_path))[1])):
                await asyncio.sleep(0.05)
        assert told["reputation"] == 995
        assert told["reputation_parts"][0] == {
            "name": "answers",
            "value": 995,
            "reason": "1,204 of 1,210 answers were accepted",
        }
        assert status["test_sites"] == [site.host]
        assert (await command("resume", data=tmp_path))[0] == 0
        assert (await command("block", "Example.COM", data=tmp_path))[0] == 0
        blocked = await dispatcher.refusal("http://www.example.com/")
        assert blocked.reason is RefusalCode.BLOCKED_BY_OWNER
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
    _, out, err = await command("status", data=tmp_path)
    assert "running           no" in out
    assert "reputation        995\n  answers           995  1,204 of 1,210 answers were accepted\n" in out
    assert "\x1b" not in out
    assert [line for line in out.splitlines() if line.startswith("wallet")] == [f"wallet            {told['wallet']}"]
    assert "example.com" in out
    assert "TEST SITES" not in err
    _, out, _ = await command("log", "--csv", data=tmp_path)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["outcome"] for row in rows] == ["refused", "refused", "stored"]
    assert (rows[2]["url"], rows[2]["purpose"], rows[2]["reward"]) == (site.url("/one"), "search", "7")
    _, out, _ = await command("log", "--limit", "1", data=tmp_path)
    assert len(out.splitlines()) == 1
    assert (await command("unblock", "example.com", data=tmp_path))[0] == 0
    assert (await command("unblock", "example.com", data=tmp_path))[0] == 2


async def test_changed_root_key_ends_the_command_until_it_is_confirmed(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with started(dispatcher, tmp_path):
        await dispatcher.connected()
        await dispatcher.refusal("http://localhost/")
    dispatcher.root = dispatcher.job_key
    async with started(dispatcher, tmp_path) as process:
        _, err = await process.communicate()
        assert process.returncode == 5
        assert f"--root-key {dispatcher.root.public}" in err.decode()
    async with started(dispatcher, tmp_path, "--root-key", dispatcher.root.public):
        await dispatcher.connected(sessions=2)


async def test_node_ends_with_its_parent(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with started(dispatcher, tmp_path, "--die-with-parent") as process:
        await dispatcher.connected()
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(5):
            assert await process.wait() == 130


async def test_limits_are_shown_set_and_checked(tmp_path: Path) -> None:
    code, out, _ = await command(
        "limits", "--daily-bytes", "1000", "--hours", "22-7", "--purpose", "rag", data=tmp_path
    )
    assert code == 0
    assert "22:00-07:00" in out
    code, _, err = await command("limits", "--daily-bytes", "-1", "--hours", "x", "--per-second", "0", data=tmp_path)
    assert code == 2
    assert len(err.strip().splitlines()) == 3
    _, out, _ = await command("limits", "--daily-bytes", "none", "--hours", "always", "--purpose", "all", data=tmp_path)
    assert out.count("no limit") == 4
    code, out, _ = await command("status", "--json", data=tmp_path)
    assert json.loads(out)["limits"]["daily_bytes"] is None


async def test_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = await command("status", data=tmp_path / "file" / "n")
    assert code == 4
    assert "choose another with --data" in err
    (tmp_path / "node.sqlite3").write_bytes(b"this is no database" * 100)
    code, _, err = await command("status", data=tmp_path)
    assert code == 4
    assert "cannot be used" in err
