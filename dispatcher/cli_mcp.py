"""`meadow mcp`: a server of the Model Context Protocol over standard input and output.

Standard output carries the protocol alone; whatever is said to people goes to standard error.
"""

import asyncio
import importlib.metadata
from typing import Annotated

import typer
from rich.console import Console

from dispatcher.adapters.api_client import ApiClient
from dispatcher.cli_connection import ApiKey, ApiUrl, Connection, connect, told
from dispatcher.errors import SetupError
from dispatcher.page_provenance import LOG_PREFIX
from provenance.checkpoint import VerifierKey, parse_vkey
from provenance.errors import FormatError

LogKey = Annotated[
    str | None,
    typer.Option(
        "--log-key", metavar="VKEY", help="The log's key, known beforehand; else the log's own word is taken."
    ),
]


def mcp(*, api_url: ApiUrl = None, api_key: ApiKey = None, log_key: LogKey = None) -> None:
    """Serve the tools scrape, crawl, map, search and verify to a program that speaks MCP, until it hangs up."""
    messages = Console(stderr=True)
    with told(messages):
        connection = connect(api_url, api_key, messages)
        try:
            known = None if log_key is None else parse_vkey(log_key)
        except FormatError as error:
            raise SetupError(f"--log-key: {error}") from error
        asyncio.run(_serve(connection, known))


async def _serve(connection: Connection, log_key: VerifierKey | None) -> None:
    # Pulls in the SDK and all it stands on, which no other command needs.
    from dispatcher.adapters.mcp_tools import MeadowTools, make_mcp_server

    async with ApiClient(connection.api_url, connection.api_key) as client:
        tools = MeadowTools(client, connection.api_url + LOG_PREFIX, log_key)
        await make_mcp_server(tools, importlib.metadata.version("meadow-network")).run_stdio_async()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)
