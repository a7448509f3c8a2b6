"""The lab's commands, one group after the other, against a real network: their tables and their JSON."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dispatcher.cli import app
from tests.clients.client_runs import QUICK
from tests.clients.site import Site, serving
from tests.network.processes import Up, until

pytestmark = pytest.mark.timeout(300)
Command = Callable[..., str]
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Site]]:
    with serving() as site:
        up = Up(tmp_path_factory.mktemp("commands"), nodes=1, sites=[site.address], env=QUICK).started()
        try:
            yield up, site
        finally:
            up.close()


@pytest.fixture
def site(network: tuple[Up, Site]) -> Site:
    return network[1]


@pytest.fixture
def meadow(network: tuple[Up, Site], tmp_path: Path) -> Command:
    """Run a command; what it printed on standard output, or on standard error where it is to fail."""
    ready = network[0].ready
    env = {
        "MEADOW_API_URL": ready.api_url,
        "MEADOW_API_KEY": ready.api_key,
        "XDG_STATE_HOME": str(tmp_path),
        "COLUMNS": "250",
    }

    def command(*arguments: str, code: int = 0) -> str:
        ran = CliRunner().invoke(app, arguments, env=env)
        assert ran.exit_code == code, (ran.output, ran.exception)
        return ran.stderr if code else ran.stdout

    return command


@pytest.fixture
def told(meadow: Command) -> Callable[..., Any]:
    """Run a command with --json."""
    return lambda *arguments: json.loads(meadow(*arguments, "--json"))


def test_a_crawl_is_waited_for_and_its_pages_are_written(
    meadow: Command, told: Callable[..., Any], site: Site, tmp_path: Path
) -> None:
    out = tmp_path / "pages"
    crawl = told("crawl", site.url("/"), "--limit", "5", "--exclude", "^/p/2$", "--out", str(out))
    assert (crawl["status"], crawl["completed"], crawl["timedOut"]) == ("completed", 5, False)
    assert len(crawl["files"]) == 5 and len(list(out.glob("*.md"))) == 5
    assert site.url("/p/2") not in {json.loads(path.read_text())["sourceURL"] for path in out.glob("*.json")}
    status = meadow("crawls", "status", crawl["id"])
    assert "completed" in status and "5 of 5" in status
    assert told("crawls", "status", crawl["id"])["creditsUsed"] == 5
    assert "No page was refused" in meadow("crawls", "errors", crawl["id"])
    assert "has ended already" in meadow("crawls", "cancel", crawl["id"], code=1)

    slow = told("crawl", site.url("/slow/10/1"), "--limit", "2", "--no-wait")
    assert slow["status"] == "scraping" and slow["timedOut"]
    assert slow["id"] in meadow("crawls", "list")
    assert "cancelled" in meadow("crawls", "cancel", slow["id"])
    assert [each["id"] for each in told("crawls", "list")["crawls"]] == []
    assert "[NOT_FOUND]" in meadow("crawls", "status", NOBODY, code=1)


def test_map_search_and_estimate(meadow: Command, told: Callable[..., Any], site: Site) -> None:
    assert len(told("map", site.url("/"), "--limit", "12")["links"]) == 12
    table = meadow("map", site.url("/"), "--limit", "3")
    assert site.url("/") in table and "3 links" in table

    told("crawl", site.url("/p/9"), "--limit", "1")
    until("the page is indexed", lambda: told("search", "larks hares")["data"]["web"])
    assert site.url("/p/") in meadow("search", "larks hares")
    assert "No page" in meadow("search", "nosuchwordanywhere")

    cost = told("estimate", site.url("/p/1"), site.url("/p/2"), "nowhere")
    assert cost["credits"] == {"low": 0, "high": 2} and cost["invalidURLs"][0]["url"] == "nowhere"
    assert "1 to 7" in meadow("estimate", site.url("/"), "--crawl", "--limit", "7")
    assert "--crawl" in meadow("estimate", site.url("/"), "--limit", "7", code=2)


def test_batches(meadow: Command, told: Callable[..., Any], site: Site, network: tuple[Up, Site]) -> None:
    batch = network[0].lab.batch([site.url("/p/11"), site.url("/private/1")])
    network[0].lab.wait(batch)
    assert told("batch", "status", batch)["refused"] == 1
    errors = meadow("batch", "errors", batch)
    assert "ROBOTS_DISALLOWED" in errors and site.url("/private/1") in errors
    slow = network[0].lab.batch([site.url("/slow/10/2")])
    assert told("batch", "cancel", slow) == {"success": True, "status": "cancelled"}


def test_datasets(
    meadow: Command, told: Callable[..., Any], site: Site, network: tuple[Up, Site], tmp_path: Path
) -> None:
    batch = network[0].lab.batch([site.url("/p/13"), site.url("/p/14")])
    network[0].lab.wait(batch)
    made = told("dataset", "build", "--job", batch, "--out", str(tmp_path / "data"))
    assert made["id"] in meadow("dataset", "list") and made["id"] in meadow("dataset", "versions", made["id"])
    shown = meadow("dataset", "show", made["id"])
    assert "data.jsonl" in shown and "completed" in shown
    assert told("dataset", "show", made["id"])["rows"] == 2
    rows = [json.loads(line) for line in meadow("dataset", "items", made["id"], "--fields", "url").splitlines()]
    assert {row["url"] for row in rows} == {site.url("/p/13"), site.url("/p/14")}
    assert told("dataset", "items", made["id"], "--offset", "1")["total"] == 2
    assert "deleted" in meadow("dataset", "delete", made["id"])
    assert "[NOT_FOUND]" in meadow("dataset", "show", made["id"], code=1)


def test_schedules_and_webhooks(meadow: Command, told: Callable[..., Any], site: Site, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"urls": [site.url("/p/15")]}))
    flags = ("--cron", "every day at 09:30", "--kind", "batch_scrape", "--body", f"@{body}")
    made = told("schedule", "create", "nightly", *flags, "--timezone", "Europe/Berlin")["schedule"]
    assert made["fields"] == "30 9 * * *" and made["timezone"] == "Europe/Berlin"
    assert "nightly" in meadow("schedule", "list")
    run = told("schedule", "run", made["id"])["run"]
    assert run["manual"] and "30 9 * * *" in meadow("schedule", "show", made["id"])
    assert made["id"] in meadow("schedule", "delete", made["id"])
    assert told("schedule", "list")["schedules"] == []
    assert "cron" in meadow("schedule", "create", "x", *("--cron", "never"), *flags[2:], code=1)

    first = told("webhook", "secret")
    assert first["secret"] in meadow("webhook", "secret")
    assert told("webhook", "secret", "--rotate")["generation"] == first["generation"] + 1
    assert told("webhook", "deliveries", "--limit", "5")["deliveries"] == []
    assert "[NOT_FOUND]" in meadow("webhook", "redeliver", NOBODY, code=1)


def test_the_account(meadow: Command, told: Callable[..., Any], site: Site) -> None:
    told("crawl", site.url("/p/17"), "--limit", "1")
    until("usage is settled", lambda: told("usage", "--by", "host")["data"])
    assert site.address.partition(":")[0] in meadow("usage", "--by", "host")
    assert "no limit to your credits" in meadow("credits")
    assert told("credits")["credits"]["isUnlimited"]
    assert told("queue")["jobsInQueue"] >= 0 and "let out" in meadow("queue")


def test_every_other_call_can_be_made_as_it_is(meadow: Command, site: Site, tmp_path: Path) -> None:
    body = json.dumps({"url": site.url("/p/19"), "formats": ["links"]})
    page = json.loads(meadow("api", "post", "/v2/scrape", "--body", body))
    assert site.url("/p/39") in page["data"]["links"]
    (tmp_path / "body.json").write_text(body)
    meadow("api", "POST", "/v2/scrape", "--body", f"@{tmp_path / 'body.json'}")
    assert "paragraph 1 of page 21" in meadow("api", "GET", f"/r/{site.url('/p/21')}")
    assert "starts with /" in meadow("api", "GET", "@elsewhere.example/", code=1)
    assert "the scope admin" in meadow("api", "GET", f"/v1/keys/{NOBODY}", code=1)
    assert "cannot be read" in meadow("api", "POST", "/v2/scrape", "--body", "@missing", code=1)
