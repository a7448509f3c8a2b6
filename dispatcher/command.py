"""The entry point of `meadow`: says what to install where the extra `dispatcher` is missing."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from dispatcher.cli import main as run

        run()
    except ModuleNotFoundError as error:
        sys.exit(f"meadow: {error.name} is not installed; run: pip install 'meadow-network[dispatcher]'")
