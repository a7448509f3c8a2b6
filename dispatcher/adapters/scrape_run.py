"""One run of `meadow scrape`: post a batch, wait, write every page that came, and say what became of each."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from dispatcher.adapters.api_client import BATCHES, ApiClient
from dispatcher.adapters.lab_requests import wait_for_job
from dispatcher.adapters.page_files import write_page


class PageOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one page. `number` is its place on the command line, from 1. `file` is its path, if any."""

    number: int
    url: str
    state: Literal["completed", "refused", "failed", "outstanding", "left out"]
    status_code: int | None = None
    file: str | None = None
    code: str | None = None
    error: str | None = None
    warning: str | None = None


class ScrapeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run. `id` is the batch's; `timed_out`: pages were still outstanding when the time was over."""

    id: str
    status: str
    timed_out: bool
    pages: tuple[PageOutcome, ...]
    next: str = ""


async def run_scrape(
    client: ApiClient,
    urls: list[str],
    *,
    out: Path,
    format_: str,
    timeout_s: float,
    on_start: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> ScrapeSummary:
    """Run to the end of the batch or of the time, whichever is first; pages that came are written either way."""
    accepted = await client.start_batch(urls, [format_])
    on_start(accepted.id)
    left_out = {item.url: item for item in accepted.invalid_details}
    numbers = [number for number, url in enumerate(urls, start=1) if url not in left_out]
    status, timed_out = await wait_for_job(client, BATCHES, accepted.id, timeout_s=timeout_s, on_progress=on_progress)
    outcomes: dict[int, PageOutcome] = {}
    for number, url in enumerate(urls, start=1):
        if (item := left_out.get(url)) is not None:
            outcomes[number] = PageOutcome(number=number, url=url, state="left out", code=item.code, error=item.error)
    digits = max(2, len(str(len(urls))))
    async for document in client.documents(accepted.id):
        number = numbers[document.metadata.position]
        picture = await client.picture(document.screenshot) if isinstance(document.screenshot, str) else None
        path = await asyncio.to_thread(
            write_page, out, document, number=number, digits=digits, format_=format_, picture=picture
        )
        outcomes[number] = PageOutcome(
            number=number,
            url=urls[number - 1],
            state="completed",
            status_code=document.metadata.status_code,
            file=str(path),
            warning=document.warning if isinstance(document.warning, str) else None,
        )
    errors = await client.batch_errors(accepted.id)
    for fault in errors.errors:
        number = numbers[fault.position]
        outcomes[number] = PageOutcome(
            number=number,
            url=urls[number - 1],
            state="failed" if fault.code.startswith("SCRAPE_") else "refused",
            code=fault.code,
            error=fault.error,
        )
    pages = tuple(
        outcomes.get(number, PageOutcome(number=number, url=url, state="outstanding"))
        for number, url in enumerate(urls, start=1)
    )
    return ScrapeSummary(id=accepted.id, status=status.status, timed_out=timed_out, pages=pages)
