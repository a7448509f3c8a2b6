"""Search in what a team's jobs have fetched.

POST   /v2/search                        pages that have every word of a query, the best first
"""

from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.lab_documents import timestamp
from dispatcher.lab_service import LabService
from dispatcher.request_fields import Rejected
from dispatcher.search_index import Found, SearchService
from dispatcher.search_request import decode_search

_WORDS_BYTES: Final = 8 * 1024 * 1024
"""Texts of at most so many bytes come with one answer; the pages after them come without."""


class FoundPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page that was found. `position` counts from 1; `scrape_id` names the job that fetched it, at `fetched_at`."""

    url: str
    title: str
    description: str
    position: int
    scrape_id: str
    fetched_at: str
    markdown: str | UnsetType = UNSET


class FoundPages(msgspec.Struct, frozen=True):
    """What was found, by where it comes from: the web as this team's jobs have read it."""

    web: list[FoundPage]


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to `POST /v2/search`. Searching is free."""

    success: bool = True
    data: FoundPages
    credits_used: int = 0
    warning: str | UnsetType = UNSET


class SearchApi:
    """The routes."""

    def __init__(self, labs: LabService, search: SearchService) -> None:
        self._labs, self._search = labs, search

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.post("/v2/search", self.search)]

    async def search(self, request: web.Request) -> web.Response:
        """Find pages of the team."""
        team_id = (await caller_of(request, self._labs)).team_id
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        wanted = decode_search(body)
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        found = await self._search.find(team_id, wanted.query, limit=wanted.limit)
        texts = await self._texts(found) if wanted.markdown else {}
        left_out = wanted.markdown and len(texts) < len(found)
        return json_answer(
            SearchAnswer(
                data=FoundPages([_found_page(page, number, texts) for number, page in enumerate(found, start=1)]),
                warning="some texts are left out: they are gone, or too long for one answer" if left_out else UNSET,
            )
        )

    async def _texts(self, found: list[Found]) -> dict[str, str]:
        texts: dict[str, str] = {}
        left = _WORDS_BYTES
        for page in found:
            document = await self._search.document(page.job_id)
            if document is not None and left > 0:
                texts[page.job_id] = document.markdown
                left -= len(document.markdown)
        return texts


def _found_page(page: Found, number: int, texts: dict[str, str]) -> FoundPage:
    return FoundPage(
        url=page.url,
        title=page.title,
        description=page.description or page.excerpt,
        position=number,
        scrape_id=page.job_id,
        fetched_at=timestamp(page.fetched_ms),
        markdown=texts.get(page.job_id, UNSET),
    )
