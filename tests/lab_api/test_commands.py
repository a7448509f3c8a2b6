"""`meadow scrape` and `meadow dataset build` as real processes against a real server, and the network file."""

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.network_file import NetworkFile, network_path, read_network, remove_network, write_network
from dispatcher.adapters.page_files import slug
from dispatcher.adapters.rich_terminal import printable
from dispatcher.errors import SetupError
from tests.lab_api.conftest import Lab, LedgerLabs

ROOT = "https://example.org"
PROGRAM = "import typer; from dispatcher.cli_lab import register; app = typer.Typer(); register(app); app()"


class Ran(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


async def meadow(*arguments: str, env: dict[str, str]) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", **env},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
def env(lab: Lab, tmp_path: Path) -> dict[str, str]:
    return {"MEADOW_API_URL": lab.url, "MEADOW_API_KEY": "mw_alpha", "HOME": str(tmp_path / "home")}


def network_of(url: str) -> NetworkFile:
    return NetworkFile(
        api_url=url,
        api_key="mw_alpha",
        gateway_url="ws://127.0.0.1:1/gateway",
        log_url="http://127.0.0.1:1/log",
        solana_url="http://127.0.0.1:2",
        data_dir="/data",
    )


async def test_pages_are_written_with_their_metadata(env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "pages"
    ran = await meadow("scrape", f"{ROOT}/news/One", f"{ROOT}/status/404", "--out", str(out), env=env)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in out.iterdir()) == [
        "01-example-org-news-one.json",
        "01-example-org-news-one.md",
        "02-example-org-status-404.json",
        "02-example-org-status-404.md",
    ]
    assert (out / "01-example-org-news-one.md").read_text() == f"# A page\n\nWords of {ROOT}/news/One\n"
    metadata = json.loads((out / "02-example-org-status-404.json").read_text())
    assert metadata["statusCode"] == 404 and metadata["provenance"]["integrity"] == "direct"
    assert "2 of 2 pages" in ran.out
    assert "Next: meadow dataset build --job 0" in ran.out and f"--out {out}-dataset" in ran.out


async def test_pages_that_did_not_come_are_listed_with_their_reasons(env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "pages"
    urls = ["nope", f"{ROOT}/a", f"{ROOT}/robots", f"{ROOT}/fail/dns_failed", f"{ROOT}/drop/not_html"]
    ran = await meadow("scrape", *urls, "--out", str(out), "--json", env=env)
    assert ran.code == 1
    summary = json.loads(ran.out)
    assert [(page["number"], page["state"], page["code"]) for page in summary["pages"]] == [
        (1, "left out", "URL_MALFORMED"),
        (2, "completed", None),
        (3, "refused", "ROBOTS_DISALLOWED"),
        (4, "failed", "SCRAPE_DNS_RESOLUTION_ERROR"),
        (5, "completed", None),
    ]
    assert summary["pages"][4]["file"].endswith("05-example-org-drop-not-html.json")
    assert "not_html" in summary["pages"][4]["warning"] and summary["status"] == "completed"
    told = await meadow("scrape", *urls, "--out", str(out), env=env)
    assert told.code == 1 and "2 of 5 pages" in told.out
    assert f"refused: {ROOT}/robots: robots disallowed: robots.txt disallows it (ROBOTS_DISALLOWED)" in told.out


async def test_other_formats(env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "pages"
    for name in ("links", "rawHtml"):
        assert (await meadow("scrape", f"{ROOT}/", "--out", str(out), "--format", name, env=env)).code == 0
    assert (out / "01-example-org.txt").read_text() == "https://example.org/a\nhttps://example.org/b\n"
    assert (out / "01-example-org.html").read_text().startswith("<!doctype html>")


async def test_when_the_time_is_over_what_came_is_written_and_the_batch_goes_on(
    env: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "pages"
    ran = await meadow("scrape", f"{ROOT}/a", f"{ROOT}/later", "--out", str(out), "--timeout", "1", env=env)
    assert ran.code == 1 and (out / "01-example-org-a.md").is_file()
    assert "1 of 2 pages" in ran.out and "the batch goes on" in ran.out and "outstanding" in ran.out


async def test_an_interrupt_leaves_the_batch_running_and_says_how_to_go_on(
    env: dict[str, str], labs: LedgerLabs, tmp_path: Path
) -> None:
    # A shell's background job ignores Ctrl-C, and so would whatever it starts.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "scrape", f"{ROOT}/later", "--out", str(tmp_path / "p"),
        stderr=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"], **env},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not labs.submitted:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    told = err.decode()
    assert process.returncode == 130 and "goes on" in told and "meadow dataset build --job" in told
    assert "Traceback" not in told


async def test_more_pages_than_one_answer_holds(env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "pages"
    urls = [f"{ROOT}/{number}" for number in range(230)]
    ran = await meadow("scrape", *urls, "--out", str(out), "--json", env=env)
    assert ran.code == 0 and len(list(out.glob("*.md"))) == 230 and not list(out.glob(".*"))
    assert (out / "230-example-org-229.md").is_file()


async def test_what_a_page_says_cannot_steer_the_terminal(env: dict[str, str], tmp_path: Path) -> None:
    ran = await meadow("scrape", "\x1b[2Jnope", f"{ROOT}/a", "--out", str(tmp_path / "pages"), env=env)
    assert ran.code == 1 and "\x1b[2J" not in ran.out
    assert printable("a\x1b[31mb\u202ec\n") == "a\ufffd[31mb\ufffdc\ufffd"


async def test_a_dataset_is_built_and_downloaded(lab: Lab, labs: LedgerLabs, tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    write_network(tmp_path / "state", network_of(lab.url))
    ran = await meadow("scrape", f"{ROOT}/a", f"{ROOT}/b", "--out", str(tmp_path / "p"), "--json", env=env)
    assert ran.code == 0, ran.err
    command = json.loads(ran.out)["next"].split()
    assert command[:4] == ["meadow", "dataset", "build", "--job"]
    built = await meadow(*command[1:], env=env)
    assert built.code == 0, built.err
    folder = tmp_path / "p-dataset"
    assert [path.name for path in folder.iterdir()] == ["data.jsonl"]
    assert len((folder / "data.jsonl").read_bytes().splitlines()) == 2
    assert "2 rows" in built.out
    assert "--log http://127.0.0.1:1/log --solana http://127.0.0.1:2" in built.out
    assert (await meadow(*command[1:], env=env)).code == 0
    (folder / "data.jsonl").write_bytes(b"mine")
    again = await meadow(*command[1:], env=env)
    assert again.code == 1 and "is of another dataset" in again.err
    assert (folder / "data.jsonl").read_bytes() == b"mine"


async def batch_of(lab: Lab, labs: LedgerLabs, url: str) -> str:
    batch_id = str((await lab.post("/v2/batch/scrape", {"urls": [url]})).at("id"))
    assert await labs.wait(batch_id, timeout_ms=10_000)
    return batch_id


async def test_a_download_that_is_not_what_was_announced_leaves_nothing(
    env: dict[str, str], lab: Lab, labs: LedgerLabs, tmp_path: Path
) -> None:
    labs.tamper = True
    batch_id = await batch_of(lab, labs, f"{ROOT}/a")
    ran = await meadow("dataset", "build", "--job", batch_id, "--out", str(tmp_path / "d"), env=env)
    assert ran.code == 1 and "announced" in ran.err and list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.jsonl", "/etc/evil", ".hidden", "a b"])
async def test_a_file_name_that_leads_elsewhere_is_not_written(
    env: dict[str, str], lab: Lab, labs: LedgerLabs, tmp_path: Path, name: str
) -> None:
    labs.dataset_name = name
    batch_id = await batch_of(lab, labs, f"{ROOT}/a")
    ran = await meadow("dataset", "build", "--job", batch_id, "--out", str(tmp_path / "d"), env=env)
    assert ran.code == 1 and "such a name is not written" in ran.err and list((tmp_path / "d").iterdir()) == []


async def test_a_build_that_fails_says_why(env: dict[str, str], lab: Lab, labs: LedgerLabs, tmp_path: Path) -> None:
    batch_id = await batch_of(lab, labs, f"{ROOT}/robots")
    ran = await meadow("dataset", "build", "--job", batch_id, "--out", str(tmp_path / "d"), env=env)
    assert ran.code == 1 and "no page became a row" in ran.err
    ran = await meadow("dataset", "build", "--job", "x", "--out", str(tmp_path / "d"), env=env)
    assert ran.code == 1 and 'job: got "x"' in ran.err


async def test_without_an_api_all_three_ways_are_named(tmp_path: Path) -> None:
    ran = await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "p"), env={"HOME": str(tmp_path)})
    assert ran.code == 1
    for way in ("--api-url", "--api-key", "MEADOW_API_URL", "MEADOW_API_KEY", "meadow up", "network.json"):
        assert way in ran.err


async def test_the_key_of_this_machines_network_is_sent_nowhere_else(lab: Lab, tmp_path: Path) -> None:
    write_network(tmp_path / "state", network_of("http://127.0.0.1:9"))
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    ran = await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "p"), "--api-url", lab.url, env=env)
    assert ran.code == 1 and "no API key" in ran.err


async def test_flags_come_before_the_environment_and_the_environment_before_the_file(
    env: dict[str, str], lab: Lab, tmp_path: Path
) -> None:
    write_network(tmp_path / "home" / ".local" / "state", network_of("http://127.0.0.1:9"))
    assert (await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "p"), env=env)).code == 0
    wrong = {**env, "MEADOW_API_URL": "http://127.0.0.1:9", "MEADOW_API_KEY": "wrong"}
    flags = ("--api-url", lab.url, "--api-key", "mw_alpha")
    assert (await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "p"), *flags, env=wrong)).code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MEADOW_API_KEY": "wrong"}, "this API key is not known here [UNAUTHORIZED]"),
        ({"MEADOW_API_URL": "http://127.0.0.1:9"}, "does not answer"),
        ({"MEADOW_API_URL": "ftp://x"}, "accepts http or https"),
        ({"MEADOW_API_URL": "nothing"}, "accepts an address as http://127.0.0.1:8080"),
    ],
)
async def test_what_is_wrong_with_the_api_is_told_in_words(
    env: dict[str, str], tmp_path: Path, change: dict[str, str], words: str
) -> None:
    ran = await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "p"), env={**env, **change})
    assert ran.code == 1 and words in ran.err


async def test_a_folder_that_cannot_be_made_is_told(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = await meadow("scrape", f"{ROOT}/a", "--out", str(tmp_path / "file" / "x"), env=env)
    assert ran.code == 1 and "--out" in ran.err


def test_the_network_file_is_private_whole_and_removed_by_its_owner_alone(tmp_path: Path) -> None:
    network = network_of("http://127.0.0.1:1")
    assert read_network(tmp_path) is None
    path = write_network(tmp_path, network)
    assert path == network_path(tmp_path) == tmp_path / "meadow" / "network.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_network(tmp_path) == network
    newer = network_of("http://127.0.0.1:2")
    write_network(tmp_path, newer)
    assert not remove_network(tmp_path, network) and read_network(tmp_path) == newer
    assert remove_network(tmp_path, newer) and list(path.parent.iterdir()) == []
    path.write_text('{"api_url":')
    with pytest.raises(SetupError, match="damaged"):
        read_network(tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.org/", "example-org"),
        ("https://example.org/A/b_c.html?q=1#f", "example-org-a-b-c-html"),
        ("https://例え.jp/../../etc/passwd", "xn-r8jz45g-jp-etc-passwd"),
        ("https://example.org/" + "x" * 200, "example-org-" + "x" * 48),
        ("///", "page"),
    ],
)
def test_file_names_are_made_of_plain_letters(url: str, words: str) -> None:
    assert slug(url) == words
