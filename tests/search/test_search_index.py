"""The search index on both databases: what is found, in which order, by whom; and what is forgotten."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from cleaning.document import Document, StructuredData
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.postgres_search import PostgresSearch
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.sqlite_search import SqliteSearch
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.jobs import Batch, Job, ScrapeOptions
from dispatcher.ledger import NewResult
from dispatcher.request_fields import Rejected
from dispatcher.search_index import PageText, SearchIndex, SearchService, words_of
from dispatcher.search_request import SearchRequest, decode_search
from protocol.keys import SigningKey
from protocol.record import Record
from protocol.statements import Kind, sign
from tests.ledger.databases import KINDS, empty_database
from tests.stores import opened_ledger

NODE = SigningKey(b"\7" * 32)


@asynccontextmanager
async def opened_index(kind: str, folder: Path) -> AsyncIterator[SearchIndex]:
    if kind == "sqlite":
        yield SqliteSearch(folder / "search.sqlite3")
        return
    with empty_database("postgresql", folder / "unused") as database:
        index = PostgresSearch(database.url)
        yield index
        await index.close()


@pytest.fixture(params=KINDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SearchIndex]:
    async with opened_index(request.param, tmp_path) as opened:
        yield opened


def page(text: str, *, team: str = "a", url: str = "", title: str = "", fetched_ms: int = 1) -> PageText:
    job_id = new_id()
    return PageText(
        team_id=team,
        job_id=job_id,
        url=url or f"https://example.org/{job_id}",
        title=title,
        description="",
        text=text,
        fetched_ms=fetched_ms,
    )


async def found(index: SearchIndex, query: str, *, team: str = "a") -> list[str]:
    return [each.job_id for each in await index.find(team, words_of(query), limit=10)]


async def test_pages_are_found_by_all_of_their_words(index: SearchIndex) -> None:
    hay, oats = page("Hay is cut in June."), page("Oats are cut in August.")
    await index.add([hay, oats], position=2)
    assert await found(index, "CUT june") == [hay.job_id]
    assert set(await found(index, "cut")) == {hay.job_id, oats.job_id}
    assert await found(index, "cut winter") == []
    assert await index.position() == 2


async def test_a_title_counts_for_more_than_a_text(index: SearchIndex) -> None:
    beside, named = page("A lark was seen. " + "The field lies still. " * 20), page("A bird of fields.", title="Lark")
    await index.add([beside, named], position=2)
    assert await found(index, "lark") == [named.job_id, beside.job_id]


async def test_excerpts_show_where_the_words_stand(index: SearchIndex) -> None:
    await index.add([page("Grass grows. " * 200 + "The corncrake calls at night. " + "Rain falls. " * 200)], position=1)
    (hit,) = await index.find("a", ["corncrake"], limit=1)
    assert "corncrake calls" in hit.excerpt
    assert len(hit.excerpt) < 400


async def test_a_team_finds_its_own_pages_alone(index: SearchIndex) -> None:
    ours, theirs = page("Clover"), page("Clover", team="b")
    await index.add([ours, theirs], position=2)
    assert await found(index, "clover") == [ours.job_id]
    assert await found(index, "clover", team="b") == [theirs.job_id]


async def test_of_a_url_the_newest_fetch_stays(index: SearchIndex) -> None:
    old, new = (page(text, url="https://example.org/", fetched_ms=ms) for text, ms in (("Barley", 5), ("Rye", 9)))
    await index.add([old], position=1)
    await index.add([new], position=2)
    assert await found(index, "barley") == []
    assert await found(index, "rye") == [new.job_id]
    await index.add([page("Barley again", url="https://example.org/", fetched_ms=7)], position=3)
    assert await found(index, "rye") == [new.job_id]


async def test_a_step_that_is_repeated_changes_nothing(index: SearchIndex) -> None:
    sown = page("Flax")
    await index.add([sown], position=4)
    await index.add([sown], position=4)
    assert await found(index, "flax") == [sown.job_id]
    await index.add([], position=2)
    assert await index.position() == 4, "the place never goes back"


async def test_what_is_forgotten_is_not_found(index: SearchIndex) -> None:
    pages = [page("Timothy grass") for _ in range(3)]
    await index.add(pages, position=3)
    await index.forget([pages[0].job_id, "unknown"])
    assert set(await found(index, "timothy")) == {each.job_id for each in pages[1:]}
    assert await index.indexed(after_job_id="", limit=10) == sorted(each.job_id for each in pages[1:])


@pytest.mark.parametrize("text", ['"; DROP TABLE pages', "a'b \\ & | ! ( ) * : <->", "NEAR(x y) OR -not", "\0\0 nul"])
async def test_operators_and_signs_are_only_words(index: SearchIndex, text: str) -> None:
    sown = page(f"Before {text} after")
    await index.add([sown], position=1)
    assert await found(index, f"before {text}") == [sown.job_id]


async def test_words_of_every_script_are_found(index: SearchIndex) -> None:
    sown = page("Die Wiese grünt. Луг зеленеет. 牧场 很 绿.")
    await index.add([sown], position=1)
    for query in ("wiese", "ЗЕЛЕНЕЕТ", "牧场"):
        assert await found(index, query) == [sown.job_id], query


# --- the service, over a real ledger ---


class Fetching:
    """Puts fetched pages into a ledger and an object store."""

    def __init__(self, service: SearchService, ledger: SqlLedger, objects: MemoryObjects) -> None:
        self.service, self.ledger, self.objects = service, ledger, objects

    async def fetch(self, text: str, *, complete: bool = True, options: ScrapeOptions | None = None) -> str:
        moment = now_ms()
        batch = Batch(
            batch_id=new_id(),
            team_id="a",
            kind="batch_scrape",
            options=options or ScrapeOptions(),
            created_ms=moment,
        )
        job_id = new_id()
        url = f"https://example.org/{job_id}"
        job = Job(
            job_id=job_id,
            batch_id=batch.batch_id,
            team_id="a",
            position=0,
            url=url,
            host="example.org",
            created_ms=moment,
            updated_ms=moment,
            deadline_ms=moment + 60_000,
        )
        await self.ledger.submit(batch, [job])
        record = Record(
            job_id=job_id,
            lease=1,
            job_hash="0" * 64,
            node_key=NODE.public,
            wallet="1" * 32,
            url=url,
            final_url=url,
            mode="direct",
            purpose="train-ai",
            status=200,
            content_type="text/html",
            content_encoding="identity",
            body_hash="0" * 64,
            body_bytes=1,
            wire_bytes=1,
            started_ms=moment,
            finished_ms=moment,
        )
        await self.ledger.store_result(
            NewResult(
                job_id=job_id,
                node_key=NODE.public,
                wallet="1" * 32,
                record=sign(Kind.RECORD, record, NODE).to_bytes(),
                body_hash="0" * 64,
                body_bytes=1,
                wire_bytes=1,
                robots_hash=None,
                stored_ms=moment,
                reward=0,
                hold_until_ms=moment,
            )
        )
        if complete:
            await self.complete(job_id, text)
        return job_id

    async def complete(self, job_id: str, text: str) -> None:
        document = Document(
            url="https://example.org/",
            text=text,
            markdown=f"# {text}",
            title="A field",
            structured_data=StructuredData(open_graph=(("og:description", "What grows there."),)),
        )
        stored = msgspec.json.encode(document)
        name = hashlib.sha256(stored).hexdigest()
        await self.objects.put("document", name, stored)
        await self.ledger.complete(job_id, document_hash=name, dropped=None, now_ms=now_ms())

    async def found(self, query: str) -> list[str]:
        return [each.job_id for each in await self.service.find("a", query, limit=10)]


@pytest.fixture
async def fetching(tmp_path: Path) -> AsyncIterator[Fetching]:
    objects = MemoryObjects()
    async with opened_ledger(tmp_path / "ledger.sqlite3") as ledger:
        index = SqliteSearch(tmp_path / "search.sqlite3")
        service = SearchService(index=index, ledger=ledger, objects=objects)
        yield Fetching(service, ledger, objects)


async def test_completed_pages_are_indexed_once_each(fetching: Fetching) -> None:
    job_ids = {await fetching.fetch(f"Vetch number {number}") for number in range(5)}
    assert await fetching.service.once() == 5
    assert await fetching.service.once() == 0
    assert set(await fetching.found("vetch")) == job_ids
    (hit,) = await fetching.service.find("a", "vetch number 3", limit=5)
    assert (hit.title, hit.description) == ("A field", "What grows there.")
    document = await fetching.service.document(hit.job_id)
    assert document is not None
    assert document.markdown == "# Vetch number 3"


async def test_a_page_that_is_not_cleaned_yet_is_waited_for(fetching: Fetching) -> None:
    first = await fetching.fetch("Sorrel", complete=False)
    second = await fetching.fetch("Sorrel too")
    await fetching.service.once()
    assert await fetching.found("sorrel") == []
    await fetching.complete(first, "Sorrel")
    assert await fetching.service.once() == 2
    assert set(await fetching.found("sorrel")) == {first, second}


async def test_zero_data_retention_keeps_a_page_out(fetching: Fetching) -> None:
    await fetching.fetch("Yarrow", options=ScrapeOptions(zero_data_retention=True))
    await fetching.service.once()
    assert await fetching.found("yarrow") == []


async def test_deleted_content_is_forgotten(fetching: Fetching) -> None:
    job_id = await fetching.fetch("Plantain")
    await fetching.service.once()
    await fetching.ledger.forget_content([job_id], now_ms())
    assert await fetching.service.document(job_id) is None
    await fetching.service.once()
    assert await fetching.found("plantain") == []


# --- requests ---


def test_requests_are_read() -> None:
    wanted = decode_search(b'{"query":"hay","limit":3,"scrapeOptions":{"formats":["markdown"]},"sources":["web"]}')
    assert wanted == SearchRequest(query="hay", limit=3, markdown=True)
    assert decode_search(b'{"query":"hay"}') == SearchRequest(query="hay", limit=5, markdown=False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "query"),
        (b'{"query":"!!!"}', "query"),
        (b'{"query":7}', "query"),
        (b'{"query":"hay","limit":0}', "limit"),
        (b'{"query":"hay","limit":true}', "limit"),
        (b'{"query":"hay","sources":["news"]}', "sources"),
        (b'{"query":"hay","tbs":"qdr:d"}', "tbs"),
        (b'{"query":"hay","scrapeOptions":{"formats":["html"]}}', "scrapeOptions"),
        (b'{"query":"hay","limt":2}', "limt"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(body: bytes, field: str) -> None:
    refused = decode_search(body)
    assert isinstance(refused, Rejected)
    assert [problem.field for problem in refused.problems] == [field]
