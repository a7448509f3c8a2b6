"""Every form of a page, over the API, from a real site."""

from dispatcher.page_bodies import load_document
from tests.documents.conftest import PAGE, Network

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "inStock": {"type": "boolean"},
        "weight": {"type": "string"},
        "designer": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "warranty": {"type": "string"},
    },
    "required": ["name", "price", "warranty"],
}


async def test_every_form_of_a_page(network: Network) -> None:
    formats = [
        "markdown",
        "html",
        "rawHtml",
        "links",
        {"type": "images"},
        {"type": "attributes", "selectors": [{"selector": "main img[alt]", "attribute": "alt"}]},
        {"type": "json", "schema": SCHEMA},
    ]
    data = (await network.scrape(formats=formats)).data()
    assert set(data) == {
        "markdown", "html", "rawHtml", "links", "images", "attributes", "json", "warning", "metadata"
    }  # fmt: skip
    assert data["rawHtml"] == PAGE
    html = str(data["html"])
    assert "<h1>A lamp</h1>" in html and "<nav>" not in html and "<script" not in html and "AAAA" not in html
    assert f'src="{network.at("/lamp.png")}"' in html
    assert data["links"] == [network.at("/elsewhere")]
    assert data["images"] == [network.at("/lamp.png"), network.at("/icon.svg")]
    assert data["attributes"] == [{"selector": "main img[alt]", "attribute": "alt", "values": ["The lamp", "A dot"]}]
    assert data["json"] == {"name": "A lamp", "price": 19.9, "inStock": True, "weight": "2.5 kg", "designer": None}
    assert data["warning"] == "json: not found in the page: designer, warranty"


async def test_the_metadata_is_complete(network: Network) -> None:
    metadata = (await network.scrape()).data()["metadata"]
    assert isinstance(metadata, dict)
    expected = {
        "title": "A lamp",
        "description": "A lamp that shines.",
        "language": "en",
        "keywords": "lamp, light",
        "robots": "max-snippet:20",
        "ogTitle": "A lamp",
        "ogImage": "/lamp.png",
        "ogLocaleAlternate": ["de_DE"],
        "favicon": network.at("/icon.svg"),
        "sourceURL": network.at("/lamp"),
        "url": network.at("/lamp"),
        "statusCode": 200,
        "contentType": "text/html; charset=utf-8",
        "proxyUsed": "basic",
        "cacheState": "miss",
        "creditsUsed": 1,
        "position": 0,
    }
    assert metadata.items() >= expected.items()
    assert "cachedAt" not in metadata and "error" not in metadata
    gone = (await network.scrape("/nowhere")).data()["metadata"]
    assert isinstance(gone, dict) and (gone["statusCode"], gone["error"]) == (404, "Not Found")


async def test_the_scope_of_a_page_is_the_labs(network: Network) -> None:
    main = str((await network.scrape()).data()["markdown"])
    whole = str((await network.scrape(onlyMainContent=False)).data()["markdown"])
    assert "Elsewhere" not in main and "All rights" not in main
    assert f"[Elsewhere]({network.at('/elsewhere')})" in whole and "All rights reserved" in whole
    assert "| Weight | 2.5 kg |" in whole and "![A dot](<Base64-Image-Removed>)" in whole
    kept = str((await network.scrape(onlyMainContent=False, removeBase64Images=False)).data()["markdown"])
    assert "![A dot](data:image/png;base64,AAAA)" in kept
    chosen = (await network.scrape(includeTags=["h1", ".note"], formats=["markdown", "html", "links"])).data()
    assert chosen["markdown"] == (
        "# A lamp\n\nIt is made of glass, of brass, and of patience, by people who know what a lamp has to be."
    )
    assert "shines" not in str(chosen["html"]) and chosen["links"] == []
    without = str((await network.scrape(excludeTags=[".note", "table"])).data()["markdown"])
    assert "shines in the dark" in without and "patience" not in without and "Elsewhere" not in without


async def test_what_a_dataset_holds_of_a_page_does_not_depend_on_the_forms(network: Network) -> None:
    dressed = {"formats": ["html", "images"], "onlyMainContent": False, "includeTags": ["h1"]}
    rows: list[tuple[str, str]] = []
    for fields in ({}, dressed):
        scrape_id = (await network.scrape(given=fields)).at("data", "metadata", "scrapeId")
        [job] = await network.house.ledger.jobs([str(scrape_id)])
        assert job.document_hash is not None
        document = await load_document(network.house.objects, job.document_hash)
        assert document is not None
        rows.append((document.text, document.markdown))
    assert rows[0] == rows[1]


async def test_a_page_without_words_still_has_its_images(network: Network) -> None:
    network.site.pages["/wall"] = "<html><body><img src=one.png><img src=two.png></body></html>"
    bare = (await network.scrape("/wall")).data()
    assert bare["markdown"] == "" and "no_text" in str(bare["warning"])
    data = (await network.scrape("/wall", formats=["images", "html"])).data()
    assert data["images"] == [network.at("/one.png"), network.at("/two.png")] and "<img" in str(data["html"])
