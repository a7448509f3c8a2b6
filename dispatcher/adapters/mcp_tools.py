"""The tools that a program over the Model Context Protocol gets: pages, sites, what was fetched, and proofs.

Each makes requests of the HTTP API with the key that the server was started with, and answers in JSON. What the API
refuses is a tool's error in the API's own words.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from msgspec import UNSET, UnsetType
from pydantic import Field

from dispatcher import api_bodies as bodies
from dispatcher.adapters.api_client import CRAWLS, ApiClient, skip_of
from dispatcher.adapters.lab_requests import (
    map_site,
    read_proof,
    scrape_page,
    search_pages,
    start_crawl,
    wait_for_job,
)
from dispatcher.adapters.map_api import MapAnswer
from dispatcher.errors import LabClientError
from provenance.adapters.http_tiles import HttpTiles
from provenance.audit_proof import audit_proof
from provenance.audit_report import StepResult
from provenance.checkpoint import VerifierKey
from provenance.errors import ProvenanceError

ANSWER_BYTES: Final = 1024 * 1024
"""The most that one answer about pages holds: who reads it has a memory of its own to fill. Of a crawl the first
document comes whatever its size, so that reading goes on."""
CRAWL_POSITIONS: Final = 2**31 - 1
_INSTRUCTIONS: Final = (
    "Reads public web pages through the Meadow network, which honours robots.txt, and proves where each comes from: "
    "metadata.provenance names a page's signed record, and `verify` checks its place in the public log."
)
_PROOF_ADDRESS: Final = re.compile(r"/log/proof/(0|[1-9][0-9]{0,18})/([0-9a-f]{64})\.tlog-proof")
_Body = TypeVar("_Body", bound=msgspec.Struct)

PlainFormat = Literal["markdown", "html", "rawHtml", "links", "images", "changeTracking", "summary"]
Url = Annotated[str, Field(description="An absolute http or https URL of a public site.")]
Seconds = Annotated[float, Field(ge=0, le=600, description="How long to wait, in seconds.")]


class CrawledPages(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the tools about crawls return. `data` are documents from position `skip` on, as many as one answer holds;
    `next_skip` is where those that are left begin: ask `read_crawl` for them, and for an unfinished crawl again."""

    id: str
    status: str
    completed: int
    total: int
    failed: int
    refused: int
    credits_used: int
    data: list[msgspec.Raw]
    next_skip: int | UnsetType = UNSET
    warning: str | UnsetType = UNSET


class VerifiedProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `verify` returns: whether every step that could be tried held, and each step with what was found."""

    is_proven: bool
    record_id: str
    log_index: int
    log_origin: str
    steps: tuple[StepResult, ...]


class MeadowTools:
    """The tools. `log_url` is the public log's address, `log_key` its key where it is known beforehand."""

    def __init__(self, client: ApiClient, log_url: str, log_key: VerifierKey | None) -> None:
        self._client, self._log_url, self._log_key = client, log_url, log_key

    async def scrape(
        self,
        url: Url,
        formats: Annotated[list[PlainFormat] | None, Field(description="markdown unless told otherwise.")] = None,
        max_age_ms: Annotated[
            int | None, Field(ge=0, description="Take the page as it was fetched at most so many milliseconds ago.")
        ] = None,
    ) -> str:
        """Read one web page. Returns the formats asked for, and metadata with its provenance."""
        with _api_words():
            body = bodies.ScrapeBody(url=url, formats=_formats(formats), max_age=max_age_ms, origin="meadow-mcp")
            answer = await scrape_page(self._client, body)
        text = _json(answer.data)
        if len(text) > ANSWER_BYTES:
            raise ToolError(
                f"the page is {len(text)} characters long and one answer holds {ANSWER_BYTES}; ask for fewer formats"
            )
        return text

    async def crawl(
        self,
        url: Url,
        limit: Annotated[int, Field(ge=1, le=10_000, description="The most pages to read.")] = 10,
        include_paths: Annotated[list[str] | None, Field(description="Regular expressions of paths to read.")] = None,
        exclude_paths: Annotated[list[str] | None, Field(description="Regular expressions of paths to leave.")] = None,
        wait_s: Seconds = 60,
    ) -> str:
        """Read a site from a page on, by its links and its sitemap, and wait for it.

        Returns the status, the id and the documents that fit; `read_crawl` reads on."""
        with _api_words():
            body = bodies.CrawlBody(
                url=url,
                limit=limit,
                include_paths=include_paths,
                exclude_paths=exclude_paths,
                origin="meadow-mcp",
            )
            accepted = await start_crawl(self._client, body)
            found = await self._crawled(accepted.id, 0, wait_s)
        if isinstance(accepted.warning, str):
            words = [accepted.warning, *([found.warning] if isinstance(found.warning, str) else [])]
            found = msgspec.structs.replace(found, warning="; ".join(words))
        return _json(found)

    async def read_crawl(
        self,
        id: Annotated[str, Field(description="The id that crawl returned.")],
        skip: Annotated[int, Field(ge=0, le=CRAWL_POSITIONS, description="The first document to return.")] = 0,
        wait_s: Seconds = 0,
    ) -> str:
        """Read where a crawl stands, and its documents from a position on."""
        with _api_words():
            return _json(await self._crawled(id, skip, wait_s))

    async def map(
        self,
        url: Url,
        search: Annotated[str | None, Field(description="Put links that are about these words first.")] = None,
        limit: Annotated[int, Field(ge=1, le=5_000, description="The most links.")] = 100,
    ) -> str:
        """List the links of a site, without reading its pages."""
        with _api_words():
            answer: MapAnswer = await map_site(
                self._client, bodies.MapBody(url=url, search=search, limit=limit, origin="meadow-mcp")
            )
        return _json(answer)

    async def search(
        self,
        query: Annotated[str, Field(min_length=1, max_length=500, description="Every word has to be in a page.")],
        limit: Annotated[int, Field(ge=1, le=100, description="The most pages.")] = 5,
    ) -> str:
        """Find words in the pages that this team's jobs have fetched. The web at large is not searched."""
        with _api_words():
            answer = await search_pages(self._client, bodies.SearchBody(query=query, limit=limit, origin="meadow-mcp"))
        return _json(answer)

    async def verify(
        self,
        proof_url: Annotated[
            str | None, Field(description="metadata.provenance.proofUrl of a page; its place is read from this log.")
        ] = None,
        record_id: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", description="provenance.recordId.")] = None,
        log_index: Annotated[int | None, Field(ge=0, lt=2**63, description="provenance.logIndex.")] = None,
        wait_s: Annotated[
            float, Field(ge=0, le=600, description="How long to wait for the log's next checkpoint, in seconds.")
        ] = 30,
    ) -> str:
        """Check that a page's signed record stands in the public log: the record's own signature, its inclusion, the
        checkpoint's signature, and that the log as it is now extends it. Give proof_url, or record_id and log_index."""
        index, entry_id = _place(proof_url, record_id, log_index)
        with _api_words():
            proof = await read_proof(self._client, index, entry_id, timeout_s=wait_s)
            async with HttpTiles(self._log_url) as log:
                report = await audit_proof(f"the proof of {entry_id}", proof, log_key=self._log_key, log=log)
        return _json(
            VerifiedProof(
                is_proven=not report.failed,
                record_id=entry_id,
                log_index=index,
                log_origin=report.origin,
                steps=report.whole,
            )
        )

    async def _crawled(self, crawl_id: str, skip: int, wait_s: float) -> CrawledPages:
        status, _ = await wait_for_job(self._client, CRAWLS, crawl_id, timeout_s=wait_s)
        documents: list[msgspec.Raw] = []
        left, position, is_more = ANSWER_BYTES, skip, True
        while is_more:
            # Few at a time: what does not fit is read in vain.
            page = await self._client.job_status(CRAWLS, crawl_id, skip=position, limit=20)
            fitting = _fitting(page.data, left, at_least=0 if documents else 1)
            documents.extend(fitting)
            left -= sum(len(bytes(raw)) for raw in fitting)
            if len(fitting) < len(page.data):
                position = _position_of(page.data[len(fitting)])
                break
            before, is_more = position, isinstance(page.next, str)
            position = skip_of(page.next) if isinstance(page.next, str) else position + len(fitting)
            if position == before:
                break
        return CrawledPages(
            id=crawl_id,
            status=status.status,
            completed=status.completed,
            total=status.total,
            failed=status.failed,
            refused=status.refused,
            credits_used=status.credits_used,
            data=documents,
            next_skip=position if is_more or status.status == "scraping" else UNSET,
            warning=status.warning,
        )


class _Placed(msgspec.Struct):
    position: int


class _Document(msgspec.Struct):
    metadata: _Placed


def make_mcp_server(tools: MeadowTools, version: str) -> MCPServer:
    """Make the server; it serves nothing yet."""
    server = MCPServer("meadow", instructions=_INSTRUCTIONS, version=version, log_level="WARNING")
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=True)
    starts = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
    for tool, annotations in (
        (tools.scrape, reads),
        (tools.crawl, starts),
        (tools.read_crawl, reads),
        (tools.map, reads),
        (tools.search, reads),
        (tools.verify, reads),
    ):
        server.add_tool(tool, annotations=annotations, structured_output=False)
    return server


@contextlib.contextmanager
def _api_words() -> Iterator[None]:
    """Turn what failed into a tool's error that says what the API, or the audit, said."""
    try:
        yield
    except (LabClientError, ProvenanceError) as error:
        raise ToolError(str(error)) from error


def _fitting(documents: list[msgspec.Raw], most_bytes: int, *, at_least: int) -> list[msgspec.Raw]:
    """Take documents from the front while they fit; the first `at_least` in any case."""
    size = 0
    for number, raw in enumerate(documents):
        size += len(bytes(raw))
        if size > most_bytes and number >= at_least:
            return documents[:number]
    return documents


def _formats(names: list[PlainFormat] | None) -> list[bodies.Format] | None:
    return None if names is None else list(names)


def _json(answer: msgspec.Struct) -> str:
    return msgspec.json.encode(answer).decode()


def _place(proof_url: str | None, record_id: str | None, log_index: int | None) -> tuple[int, str]:
    """Say which entry is meant. Of an address its path is taken: the log that is asked is this server's own."""
    if proof_url is not None:
        found = _PROOF_ADDRESS.search(proof_url)
        if found is None:
            raise ToolError(f"proof_url: got {proof_url[:200]!r}, accepts metadata.provenance.proofUrl of a page")
        return int(found[1]), found[2]
    if record_id is None or log_index is None:
        raise ToolError("give proof_url, or record_id and log_index; all stand in metadata.provenance of a page")
    return log_index, record_id


def _position_of(raw: msgspec.Raw) -> int:
    try:
        return msgspec.json.decode(bytes(raw), type=_Document).metadata.position
    except msgspec.DecodeError as error:
        raise ToolError(f"the answer is not one of this API ({error}); is the address right?") from error
