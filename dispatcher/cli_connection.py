"""How the lab's commands reach the API, and how they show what it answers.

Where the API is: the flags `--api-url` and `--api-key`, then `MEADOW_API_URL` and `MEADOW_API_KEY`, then the network
last started on this machine by this user. A key is only ever sent to the address it was given with or for.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from dispatcher.adapters.api_client import ApiClient, check_api_url
from dispatcher.adapters.network_file import NetworkFile, network_path, read_network
from dispatcher.adapters.rich_terminal import printable
from dispatcher.errors import LabClientError, SetupError
from dispatcher.lab_settings import LabSettings, read_lab_settings

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_Found = TypeVar("_Found")


class Connection(msgspec.Struct, frozen=True):
    """The API to talk to; `network` is set where the address is that of this machine's network."""

    api_url: str
    api_key: str
    network: NetworkFile | None


ApiUrl = Annotated[str | None, typer.Option("--api-url", help="Address of the API; else MEADOW_API_URL.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="API key; else MEADOW_API_KEY.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def find_connection(api_url: str | None, api_key: str | None, settings: LabSettings) -> Connection:
    """Decide which API to use; SetupError names all three ways where none gives an address and a key."""
    network = read_network(settings.state_dir) if not (api_url and api_key) else None
    env_key = settings.api_key.get_secret_value() if settings.api_key else None
    url = api_url or settings.api_url or (network.api_url if network else None)
    key = api_key or env_key
    try:
        url = check_api_url(url) if url else None
    except ValueError as error:
        raise SetupError(f"the API address: {error}") from error
    here = network if network is not None and url == check_api_url(network.api_url) else None
    if key is None and here is not None:
        key = here.api_key
    if url is None or key is None:
        missing = " and ".join(name for name, value in (("address", url), ("key", key)) if value is None)
        raise SetupError(
            f"no API {missing}. Give them in one of three ways:\n"
            "  1. the flags --api-url URL --api-key KEY\n"
            "  2. the environment variables MEADOW_API_URL and MEADOW_API_KEY\n"
            f"  3. start a network on this machine with 'meadow up', which writes {network_path(settings.state_dir)}"
        )
    return Connection(url, key, here)


def connect(api_url: str | None, api_key: str | None, messages: Console) -> Connection:
    """Find the API; a key that would travel unencrypted is warned of."""
    connection = find_connection(api_url, api_key, read_lab_settings())
    address = urlsplit(connection.api_url)
    if address.scheme == "http" and address.hostname not in _LOOPBACK:
        plain(messages)(f"warning: the API key travels unencrypted to {connection.api_url}; use https")
    return connection


@contextlib.contextmanager
def told(messages: Console) -> Iterator[None]:
    """Show what went wrong in a person's words; exit status 1."""
    try:
        yield
    except (SetupError, LabClientError) as error:
        plain(messages)(f"error: {printable(str(error), lines=True)}")
        raise typer.Exit(1) from error


def plain(console: Console) -> Callable[[str], None]:
    """Return what prints a line as it is."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return say


def ask_api(work: Callable[[ApiClient], Awaitable[_Found]], api_url: str | None, api_key: str | None) -> _Found:
    """Have work done with a client of the API; a failure ends the command with its words."""
    messages = Console(stderr=True)

    async def run(connection: Connection) -> _Found:
        async with ApiClient(connection.api_url, connection.api_key) as client:
            return await work(client)

    with told(messages):
        return asyncio.run(run(connect(api_url, api_key, messages)))


def show(answer: msgspec.Struct, table: Callable[[], Table], *, as_json: bool, then: str = "") -> None:
    """Print an answer: as the API's JSON, or as a table with a line `then` below it."""
    if as_json:
        typer.echo(msgspec.json.encode(answer).decode())
        return
    console = Console()
    console.print(table())
    if then:
        plain(console)(printable(then, lines=True))
