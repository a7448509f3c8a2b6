"""The lab's commands about jobs: crawl, map, search, estimate, and how batches and crawls stand."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from msgspec import UNSET, UnsetType
from rich.console import Console
from rich.table import Table

from dispatcher import api_bodies as bodies
from dispatcher.adapters.answer_tables import facts_table, rows_table
from dispatcher.adapters.api_client import BATCHES, CRAWLS, WAITING_S, ApiClient, quoted
from dispatcher.adapters.crawl_api import ActiveCrawls
from dispatcher.adapters.lab_requests import (
    NO_DOCUMENTS,
    map_site,
    search_pages,
    start_crawl,
    wait_for_job,
)
from dispatcher.adapters.page_files import make_folder, write_page
from dispatcher.adapters.rich_terminal import progress_bar
from dispatcher.cli_connection import ApiKey, ApiUrl, AsJson, Connection, ask_api, connect, plain, show, told
from dispatcher.cli_lab import Format
from dispatcher.errors import SetupError
from dispatcher.estimate import EstimateAnswer, EstimateKind
from dispatcher.lab_documents import BatchCancelled, BatchErrors, BatchStatus

ORIGIN: Final = "meadow-cli"
Url = Annotated[str, typer.Argument(help="An address of the site.", show_default=False)]
JobId = Annotated[str, typer.Argument(help="The job's id.", show_default=False)]


class CrawlSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `meadow crawl` came to. `timed_out`: it goes on, the time to wait for it is over. `files` are the pages."""

    id: str
    status: str
    completed: int
    total: int
    failed: int
    refused: int
    cancelled: int
    credits_used: int
    timed_out: bool
    files: tuple[str, ...] = ()
    warning: str | UnsetType = UNSET


class CrawlEstimate(bodies.EstimateBody, kw_only=True):
    """What `meadow estimate --crawl` asks: the first page, and the limit."""

    limit: int | None = None


def crawl(
    url: Url,
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The most pages to read.")] = None,
    include: Annotated[list[str] | None, typer.Option("--include", help="A regular expression of paths.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="A regular expression of paths.")] = None,
    depth: Annotated[int | None, typer.Option("--depth", min=0, help="How many links away from the start.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the pages.", show_default=False)] = None,
    format_: Annotated[Format, typer.Option("--format", help="What to write of each page.")] = Format.MARKDOWN,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for its end.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for its end.")] = 3600,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Read a site: its pages are found by its links and its sitemap. Exit status 1 if it did not complete."""
    console, messages = Console(), Console(stderr=True)
    if out is not None and not wait:
        raise typer.BadParameter("pages are written at the end of a crawl: leave out --no-wait")
    body = bodies.CrawlBody(
        url=url,
        limit=limit,
        include_paths=include,
        exclude_paths=exclude,
        max_discovery_depth=depth,
        scrape_options=bodies.PageOptions(formats=[format_.value]),
        origin=ORIGIN,
    )
    started: list[str] = []
    with told(messages):
        connection = connect(api_url, api_key, messages)
        if out is not None:
            make_folder(out)
        work = _crawl(connection, body, started, out=out, format_=format_, timeout_s=timeout if wait else 0)
        try:
            summary = asyncio.run(work)
        except KeyboardInterrupt:
            if started:
                plain(messages)(f"Stopped waiting; the crawl goes on: meadow crawls status {started[0]}")
            raise typer.Exit(130) from None
    then = f"The crawl goes on: meadow crawls status {summary.id}" if summary.timed_out else ""
    if out is not None:
        then = f"{len(summary.files)} pages are in {out}\n{then}".rstrip()
    show(summary, lambda: _job_table(summary), as_json=as_json, then=then)
    if wait and summary.status != "completed":
        plain(console if not as_json else messages)(f"The crawl is {summary.status}.")
        raise typer.Exit(1)


async def _crawl(
    connection: Connection,
    body: bodies.CrawlBody,
    started: list[str],
    *,
    out: Path | None,
    format_: Format,
    timeout_s: float,
) -> CrawlSummary:
    async with ApiClient(connection.api_url, connection.api_key) as client:
        accepted = await start_crawl(client, body)
        started.append(accepted.id)
        with progress_bar(Console(stderr=True), "pages", 0) as progress:
            status, is_over = await wait_for_job(client, CRAWLS, accepted.id, timeout_s=timeout_s, on_progress=progress)
        files: list[str] = []
        if out is not None:
            digits = max(2, len(str(status.total)))
            async for document in client.documents(accepted.id, CRAWLS):
                number = document.metadata.position + 1
                picture = await client.picture(document.screenshot) if isinstance(document.screenshot, str) else None
                path = await asyncio.to_thread(
                    write_page, out, document, number=number, digits=digits, format_=format_.value, picture=picture
                )
                files.append(str(path))
    notes = [words for words in (accepted.warning, status.warning) if isinstance(words, str)]
    return CrawlSummary(
        id=accepted.id,
        status=status.status,
        completed=status.completed,
        total=status.total,
        failed=status.failed,
        refused=status.refused,
        cancelled=status.cancelled,
        credits_used=status.credits_used,
        timed_out=is_over,
        files=tuple(files),
        warning="; ".join(notes) or UNSET,
    )


def map_(
    url: Url,
    *,
    search: Annotated[str | None, typer.Option("--search", help="Put links about these words first.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The most links.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the links of a site, without reading its pages."""
    body = bodies.MapBody(url=url, search=search, limit=limit, origin=ORIGIN)
    answer = ask_api(lambda client: map_site(client, body), api_url, api_key)
    warning = answer.warning if isinstance(answer.warning, str) else ""
    show(
        answer,
        lambda: rows_table(("link", "title"), ((link.url, link.title) for link in answer.links)),
        as_json=as_json,
        then=f"{len(answer.links)} links. {warning}".rstrip(),
    )


def search(
    query: Annotated[str, typer.Argument(help="Every word has to be in a page.", show_default=False)],
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The most pages.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find words in the pages that your jobs have fetched."""
    body = bodies.SearchBody(query=query, limit=limit, origin=ORIGIN)
    answer = ask_api(lambda client: search_pages(client, body), api_url, api_key)
    found = answer.data.web
    show(
        answer,
        lambda: rows_table(
            ("#", "page", "title", "fetched"),
            ((page.position, page.url, page.title, page.fetched_at) for page in found),
        ),
        as_json=as_json,
        then="" if found else "No page that your jobs have fetched has all of these words.",
    )


def estimate(
    urls: Annotated[list[str], typer.Argument(help="The pages, or a crawl's first one.", show_default=False)],
    *,
    is_crawl: Annotated[bool, typer.Option("--crawl", help="Of a crawl from this page on.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The crawl's most pages.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Say what a scrape, a batch or a crawl may cost, before it is made."""
    if is_crawl and len(urls) > 1:
        raise typer.BadParameter("a crawl starts at one page")
    if limit is not None and not is_crawl:
        raise typer.BadParameter("--limit is a crawl's: add --crawl")
    kind: EstimateKind = "crawl" if is_crawl else "batch_scrape"
    body = CrawlEstimate(kind=kind, url=urls[0], limit=limit) if is_crawl else bodies.EstimateBody(kind=kind, urls=urls)
    answer = ask_api(lambda client: client.ask("POST", "/v1/estimate", EstimateAnswer, body=body), api_url, api_key)
    facts = (
        ("pages", f"{answer.pages.low} to {answer.pages.high}"),
        ("credits", f"{answer.credits.low} to {answer.credits.high}"),
        ("credits left", answer.remaining_credits),
        ("covered", answer.is_covered),
        ("left out", ", ".join(f"{item.url} ({item.code})" for item in answer.invalid_urls) or None),
        ("warning", answer.warning),
    )
    show(answer, lambda: facts_table(facts), as_json=as_json)


def _job_table(status: BatchStatus | CrawlSummary) -> Table:
    return facts_table(
        (
            ("job", status.id if isinstance(status, CrawlSummary) else None),
            ("status", status.status),
            ("completed", f"{status.completed} of {status.total}"),
            ("refused", status.refused),
            ("failed", status.failed),
            ("cancelled", status.cancelled),
            ("credits used", status.credits_used),
            ("kept until", status.expires_at if isinstance(status, BatchStatus) else None),
            ("warning", status.warning),
        )
    )


def _job_commands(app: typer.Typer, jobs: str) -> None:
    """Add status, errors and cancel of one kind of jobs; `jobs` is `BATCHES` or `CRAWLS`."""

    @app.command("status")
    def status(job: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
        """Say where it stands."""
        answer = ask_api(lambda client: client.job_status(jobs, job, skip=NO_DOCUMENTS, limit=1), api_url, api_key)
        # No document was asked for: where they begin is no part of how the job stands.
        answer = msgspec.structs.replace(answer, next=UNSET)
        show(answer, lambda: _job_table(answer), as_json=as_json)

    @app.command("errors")
    def errors(job: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
        """List the pages that were refused or failed, and why."""
        answer: BatchErrors = ask_api(lambda client: client.job_errors(jobs, job), api_url, api_key)
        rows = [(page.position + 1, page.url, page.code, page.error) for page in answer.errors]
        show(
            answer,
            lambda: rows_table(("#", "page", "code", "reason"), rows),
            as_json=as_json,
            then="" if rows else "No page was refused, and none failed.",
        )

    @app.command("cancel")
    def cancel(job: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
        """Cancel what is not fetched yet."""
        path = f"{jobs}/{quoted(job)}"
        answer = ask_api(lambda client: client.ask("DELETE", path, BatchCancelled), api_url, api_key)
        show(answer, lambda: facts_table((("job", job), ("status", answer.status))), as_json=as_json)


batch_app = typer.Typer(help="See and cancel batches.", no_args_is_help=True)
crawls_app = typer.Typer(help="See and cancel crawls.", no_args_is_help=True)
_job_commands(batch_app, BATCHES)
_job_commands(crawls_app, CRAWLS)


@crawls_app.command("list")
def list_crawls(*, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the crawls that have not ended."""
    answer = ask_api(lambda client: client.ask("GET", f"{CRAWLS}/active", ActiveCrawls), api_url, api_key)
    rows = [(each.id, each.url, each.created_at) for each in answer.crawls]
    show(answer, lambda: rows_table(("crawl", "site", "started"), rows), as_json=as_json)


def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PATCH or DELETE.", show_default=False)],
    path: Annotated[str, typer.Argument(help="As /v2/team/credit-usage.", show_default=False)],
    *,
    body: Annotated[str | None, typer.Option("--body", metavar="JSON|@FILE", help="What to send.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Make any request of the API and print its answer as it comes."""
    verb = method.upper()
    if verb not in ("GET", "POST", "PATCH", "DELETE"):
        raise typer.BadParameter(f"got {method!r}, accepts GET, POST, PATCH or DELETE")
    messages = Console(stderr=True)
    with told(messages):
        sent = None if body is None else _sent(body)
    answer = ask_api(lambda client: client.ask_bytes(verb, path, body=sent, silence_s=WAITING_S), api_url, api_key)
    typer.echo(answer, nl=not answer.endswith(b"\n"))


def _sent(body: str) -> bytes:
    if not body.startswith("@"):
        return body.encode()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise SetupError(f"--body {body} cannot be read: {error.strerror}") from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("crawl")(crawl)
    app.command("map")(map_)
    app.command("search")(search)
    app.command("estimate")(estimate)
    app.command("api")(api)
    app.add_typer(batch_app, name="batch")
    app.add_typer(crawls_app, name="crawls")
