"""Children that announce themselves, and that end with their parent, however it ends."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.child_process import ChildProcess
from dispatcher.errors import SetupError

READY = "import sys; sys.stdout.write('{\"port\": 7}\\n'); sys.stdout.flush()"


class Ready(msgspec.Struct):
    port: int


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module to run as a child; the test writes it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "played_child"


async def start(tmp_path: Path, name: str, code: str) -> ChildProcess:
    (tmp_path / f"{name}.py").write_text(code)
    return await ChildProcess.start("the child", name, [], log=tmp_path / "logs" / "child.log")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_says_when_it_is_ready_and_ends_when_asked(tmp_path: Path, child: str) -> None:
    process = await start(tmp_path, child, f"{READY}\nsys.stdin.read()")
    assert (await process.ready(Ready, timeout_s=10)).port == 7
    assert is_alive(process.pid)
    await process.stop()
    assert not process.is_running
    await process.stop()


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit('the reason it ended')",
        "import sys, time; sys.stderr.write('the reason it ended'); sys.stderr.flush(); time.sleep(60)",
        "import sys; sys.stderr.write('the reason it ended'); print('hello', flush=True); sys.stdin.read()",
        "import sys; sys.stderr.write('the reason it ended'); print('x' * 200_000, flush=True); sys.stdin.read()",
    ],
)
async def test_a_child_that_does_not_get_ready_is_ended_and_its_last_words_shown(
    tmp_path: Path, child: str, code: str
) -> None:
    process = await start(tmp_path, child, code)
    with pytest.raises(SetupError, match="the reason it ended"):
        await process.ready(Ready, timeout_s=1.5)
    assert not process.is_running


async def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path, child: str) -> None:
    deaf = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}\ntime.sleep(60)"
    process = await start(tmp_path, child, deaf)
    await process.ready(Ready, timeout_s=10)
    await process.stop(timeout_s=0.2)
    assert not process.is_running


async def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path, child: str) -> None:
    (tmp_path / f"{child}.py").write_text(f"{READY}\nsys.stdin.read()")
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import asyncio, pathlib\n"
        "from dispatcher.adapters.child_process import ChildProcess\n"
        "async def main():\n"
        f"    child = await ChildProcess.start('c', {child!r}, [], log=pathlib.Path({str(tmp_path / 'c.log')!r}))\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(parent),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert is_alive(pid)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(10):
        while is_alive(pid):
            await asyncio.sleep(0.02)
