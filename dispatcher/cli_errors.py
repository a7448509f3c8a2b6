"""How a command ends that cannot do its work: one message, exit code 1, no traceback."""

import contextlib
from collections.abc import Iterator

import typer

from dispatcher.errors import DispatcherError


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Say what went wrong and exit with 1."""
    try:
        yield
    except DispatcherError as error:
        typer.echo(f"meadow: {error}", err=True)
        raise typer.Exit(1) from error
