"""What changed in a page since the same team tracked it last."""

import subprocess
from pathlib import Path

import pytest

from tests.documents.conftest import OTHER_PAGE, Network

SCHEMA = {"type": "object", "properties": {"price": {"type": "number"}, "name": {"type": "string"}}}
BOTH = {"type": "changeTracking", "modes": ["git-diff", "json"], "schema": SCHEMA}


async def track(
    network: Network, form: object = "changeTracking", *, team: str = "lab", **fields: object
) -> dict[str, object]:
    data = (await network.scrape(given=fields, team=team, formats=["markdown", form])).data()
    found = data["changeTracking"]
    assert isinstance(found, dict)
    return found


async def test_a_page_is_new_then_the_same_then_changed(network: Network, tmp_path: Path) -> None:
    first = await track(network, BOTH)
    assert first == {"previousScrapeAt": None, "changeStatus": "new", "visibility": "visible"}
    second = await track(network, BOTH)
    assert second["changeStatus"] == "same" and "diff" not in second
    before = str((await network.scrape()).data()["markdown"])
    network.site.pages["/lamp"] = OTHER_PAGE
    third = await track(network, BOTH)
    after = str((await network.scrape()).data()["markdown"])
    assert third["changeStatus"] == "changed"
    assert third["json"] == {"price": {"previous": 19.9, "current": 24.9}}
    diff = third["diff"]
    assert isinstance(diff, dict) and "+" in diff["text"]
    (tmp_path / "page").write_text(f"{before}\n")
    patch = f"--- page\n+++ page\n{diff['text']}\n"
    subprocess.run(["patch", "-s", "page"], input=patch, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "page").read_text() == f"{after}\n"
    [file] = diff["json"]["files"]
    lines = [change for chunk in file["chunks"] for change in chunk["changes"]]
    assert [line["content"] for line in lines if line["type"] != "normal"] == [
        line for line in diff["text"].split("\n") if line[0] in "+-"
    ]
    assert all(line["ln1"] and line["ln2"] and line["normal"] for line in lines if line["type"] == "normal")
    assert all(line["ln"] and line[line["type"]] is True for line in lines if line["type"] != "normal")
    assert (file["from"], file["to"]) == (None, None)


async def test_a_page_that_is_gone_is_removed(network: Network) -> None:
    await track(network)
    del network.site.pages["/lamp"]
    gone = await track(network)
    assert gone["changeStatus"] == "removed" and gone["previousScrapeAt"] is not None


@pytest.mark.parametrize("other", [{"team": "other"}, {"tag": "weekly"}])
async def test_versions_are_a_teams_own_and_a_tags_own(network: Network, other: dict[str, str]) -> None:
    await track(network)
    form = {"type": "changeTracking", "tag": other.get("tag")}
    assert (await track(network, form, team=other.get("team", "lab")))["changeStatus"] == "new"
    assert (await track(network))["changeStatus"] == "same"


async def test_a_scrape_that_does_not_track_is_no_version(network: Network) -> None:
    await network.scrape()
    assert (await track(network))["changeStatus"] == "new"


async def test_the_earlier_version_is_seen_in_the_scope_asked_for_now(network: Network) -> None:
    await track(network)
    network.site.pages["/lamp"] = OTHER_PAGE
    assert (await track(network, includeTags=["h1"]))["changeStatus"] == "same"
    assert (await track(network))["changeStatus"] == "same"


async def test_a_tracked_page_is_always_fetched(network: Network) -> None:
    await network.scrape()
    answer = await network.scrape(formats=["markdown", "changeTracking"], maxAge=86_400_000)
    assert "maxAge is not used" in str(answer.data()["warning"]) and network.site.asked["/lamp"] == 2


async def test_content_that_is_no_longer_kept_is_compared_by_its_bytes(network: Network) -> None:
    scrape_id = (await network.scrape(formats=["markdown", "changeTracking"])).at("data", "metadata", "scrapeId")
    await network.house.ledger.forget_content([str(scrape_id)], 1)
    answer = await network.scrape(formats=["markdown", {"type": "changeTracking", "modes": ["git-diff"]}])
    assert answer.at("data", "changeTracking", "changeStatus") == "same"
    assert "only its bytes were compared" in str(answer.at("data", "warning"))
