"""The lab's commands about datasets that are there: list, show, items, versions, delete. Building is in `cli_lab`."""

from typing import Annotated
from urllib.parse import urlencode

import typer
from msgspec import UNSET
from rich.console import Console
from rich.table import Table

from dispatcher.adapters.answer_tables import facts_table, rows_table
from dispatcher.adapters.api_client import quoted
from dispatcher.adapters.rich_terminal import printable
from dispatcher.cli_connection import ApiKey, ApiUrl, AsJson, ask_api, plain, show
from dispatcher.dataset_views import DatasetItems, DatasetList, DatasetRemoved, DatasetView

DATASETS = "/v1/datasets"
DatasetId = Annotated[str, typer.Argument(help="The dataset's id.", show_default=False)]


def list_all(
    *,
    before: Annotated[str | None, typer.Option("--before", help="Those made before the dataset of this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The most datasets.")] = 50,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List datasets, newest first."""
    query = urlencode({"limit": limit, **({} if before is None else {"before": before})})
    answer = ask_api(lambda client: client.ask("GET", f"{DATASETS}?{query}", DatasetList), api_url, api_key)
    more = f"More: meadow dataset list --before {answer.datasets[-1].id}" if answer.next is not UNSET else ""
    show(answer, lambda: _listed(answer), as_json=as_json, then=more)


def versions(dataset: DatasetId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the versions of a dataset."""
    path = f"{DATASETS}/{quoted(dataset)}/versions"
    answer = ask_api(lambda client: client.ask("GET", path, DatasetList), api_url, api_key)
    show(answer, lambda: _listed(answer), as_json=as_json)


def show_one(dataset: DatasetId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show where a build stands, and its files."""
    path = f"{DATASETS}/{quoted(dataset)}"
    answer = ask_api(lambda client: client.ask("GET", path, DatasetView), api_url, api_key)
    show(answer, lambda: _dataset_table(answer), as_json=as_json)


def items(
    dataset: DatasetId,
    *,
    offset: Annotated[int, typer.Option("--offset", min=0, help="The first row.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most rows.")] = 20,
    fields: Annotated[str | None, typer.Option("--fields", help="Columns, separated by commas.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Print rows of a dataset, a line of JSON each."""
    query = urlencode({"offset": offset, "limit": limit, **({} if fields is None else {"fields": fields})})
    path = f"{DATASETS}/{quoted(dataset)}/items?{query}"
    answer = ask_api(lambda client: client.ask("GET", path, DatasetItems), api_url, api_key)
    if as_json:
        show(answer, lambda: rows_table((), ()), as_json=True)
        return
    for row in answer.items:
        typer.echo(printable(bytes(row).decode()))
    plain(Console(stderr=True))(f"{len(answer.items)} of {answer.total} rows, from row {answer.offset} on")


def delete(dataset: DatasetId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Cancel a build, or delete what was built."""
    path = f"{DATASETS}/{quoted(dataset)}"
    answer = ask_api(lambda client: client.ask("DELETE", path, DatasetRemoved), api_url, api_key)
    show(answer, lambda: facts_table((("dataset", answer.id), ("status", answer.status))), as_json=as_json)


def _listed(answer: DatasetList) -> Table:
    columns = ("dataset", "name", "version", "status", "rows", "formats", "made")
    return rows_table(
        columns,
        (
            (each.id, each.name, each.version, each.status, each.rows, ", ".join(each.formats), each.created_at)
            for each in answer.datasets
        ),
    )


def _dataset_table(dataset: DatasetView) -> Table:
    progress = dataset.progress
    return facts_table(
        (
            ("dataset", dataset.id),
            ("name", dataset.name),
            ("version", dataset.version),
            ("status", dataset.status),
            ("progress", None if progress is UNSET else f"{progress.stage}: {progress.done} of {progress.total}"),
            ("error", dataset.error),
            ("rows", dataset.rows),
            ("left out", ", ".join(f"{number} {reason}" for reason, number in sorted(dataset.dropped.items())) or None),
            ("made", dataset.created_at),
            ("kept until", dataset.expires_at),
            ("proof", dataset.proof_url),
            *(("file", f"{file.name}  {file.bytes} bytes  sha256 {file.sha256}") for file in dataset.files),
        )
    )


def register(group: typer.Typer) -> None:
    """Add the commands to the group `dataset`."""
    group.command("list")(list_all)
    group.command("versions")(versions)
    group.command("show")(show_one)
    group.command("items")(items)
    group.command("delete")(delete)
