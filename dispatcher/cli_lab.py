"""The lab's commands `meadow scrape` and `meadow dataset build`. They talk to the HTTP API and to nothing else."""

import asyncio
import enum
import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from dispatcher import cli_datasets
from dispatcher.adapters.api_client import ApiClient
from dispatcher.adapters.dataset_download import download_dataset
from dispatcher.adapters.page_files import make_folder
from dispatcher.adapters.rich_terminal import page_table, printable, progress_bar
from dispatcher.adapters.scrape_run import PageOutcome, ScrapeSummary, run_scrape
from dispatcher.cli_connection import ApiKey, ApiUrl, AsJson, Connection, connect, plain, told
from dispatcher.dataset_views import DatasetView


class Format(enum.StrEnum):
    """What is written of each page."""

    MARKDOWN = "markdown"
    RAW_HTML = "rawHtml"
    LINKS = "links"
    SCREENSHOT = "screenshot"
    FULL_PAGE = "screenshot@fullPage"


def scrape(
    urls: Annotated[list[str], typer.Argument(help="The pages to fetch.", show_default=False)],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pages.", show_default=False)],
    format_: Annotated[Format, typer.Option("--format", help="What to write of each page.")] = Format.MARKDOWN,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for all pages.")] = 600,
) -> None:
    """Fetch pages through the network and write each as a file. Exit status 1 if any page did not come."""
    console, messages = Console(), Console(stderr=True)
    with told(messages):
        connection = connect(api_url, api_key, messages)
        make_folder(out)
        started: list[str] = []
        try:
            summary = asyncio.run(
                _scrape(
                    connection,
                    urls,
                    out=out,
                    format_=format_,
                    timeout_s=timeout,
                    messages=messages,
                    started=started,
                )
            )
        except KeyboardInterrupt:
            if started:
                messages.print(f"Stopped waiting; batch {started[0]} goes on.", highlight=False, soft_wrap=True)
                messages.print(_next_step(started[0], out, api_url), highlight=False, soft_wrap=True)
            raise typer.Exit(130) from None
        step = _next_step(summary.id, out, api_url)
        if as_json:
            typer.echo(msgspec.json.encode(msgspec.structs.replace(summary, next=step)).decode())
        else:
            _report(console, summary, out, step)
    if any(page.state != "completed" for page in summary.pages):
        raise typer.Exit(1)


async def _scrape(
    connection: Connection,
    urls: list[str],
    *,
    out: Path,
    format_: Format,
    timeout_s: float,
    messages: Console,
    started: list[str],
) -> ScrapeSummary:
    async with ApiClient(connection.api_url, connection.api_key) as client:
        with progress_bar(messages, "pages", len(urls)) as progress:
            return await run_scrape(
                client,
                urls,
                out=out,
                format_=format_.value,
                timeout_s=timeout_s,
                on_start=started.append,
                on_progress=progress,
            )


def _report(console: Console, summary: ScrapeSummary, out: Path, step: str) -> None:
    console.print(page_table(summary.pages))
    came = sum(page.state == "completed" for page in summary.pages)
    say = plain(console)
    say(f"{came} of {len(summary.pages)} pages are in {out}")
    for page in summary.pages:
        if page.state != "completed":
            say(_why(page))
    if summary.timed_out:
        say("The time is over; the batch goes on. Wait longer with --timeout.")
    say(f"Batch {summary.id} is {summary.status}.")
    say(f"Next: {step}")


def _why(page: PageOutcome) -> str:
    reason = f" ({page.code})" if page.code else ""
    return f"  {page.state}: {printable(page.url)}: {printable(page.error or 'no result yet')}{reason}"


def _next_step(batch_id: str, out: Path, api_url: str | None) -> str:
    folder = out.with_name(f"{out.name}-dataset") if out.name else Path("dataset")
    address = f" --api-url {shlex.quote(api_url)}" if api_url else ""
    return f"meadow dataset build --job {batch_id} --out {shlex.quote(str(folder))}{address}"


dataset_app = typer.Typer(help="Build, read and delete datasets.", no_args_is_help=True)


@dataset_app.callback()
def _datasets() -> None:
    """Build, read and delete datasets."""


@dataset_app.command("build")
def build(
    *,
    job: Annotated[str, typer.Option("--job", help="The batch's id.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the dataset.", show_default=False)],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Build a dataset of a finished batch and download it, every file checked against its hash."""
    console, messages = Console(), Console(stderr=True)
    with told(messages):
        connection = connect(api_url, api_key, messages)
        make_folder(out)
        dataset = asyncio.run(_build(connection, job.strip(), out, messages))
        if as_json:
            typer.echo(msgspec.json.encode(dataset).decode())
            return
        say = plain(console)
        say(f"{dataset.rows} rows in {out}: {', '.join(file.name for file in dataset.files)}")
        if dataset.dropped:
            reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(dataset.dropped.items()))
            say(f"{sum(dataset.dropped.values())} pages did not become rows: {printable(reasons)}")
        log, solana = ("LOG_URL", "SOLANA_URL")
        if connection.network is not None:
            log, solana = connection.network.log_url, connection.network.solana_url
        say(f"Next: meadow-verify dataset {shlex.quote(str(out))} --log {log} --solana {solana}")


async def _build(connection: Connection, batch_id: str, out: Path, messages: Console) -> DatasetView:
    async with ApiClient(connection.api_url, connection.api_key) as client:
        with progress_bar(messages, "bytes", 0) as progress:
            return await download_dataset(client, batch_id, out=out, on_progress=progress)


def register(app: typer.Typer) -> None:
    """Add the lab's commands to the command `meadow`."""
    app.command("scrape")(scrape)
    cli_datasets.register(dataset_app)
    app.add_typer(dataset_app, name="dataset")
