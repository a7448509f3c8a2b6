"""The entry point of `meadow-verify`: says what to install where the extra `verify` is missing."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from provenance.cli import main as run

        run()
    except ModuleNotFoundError as error:
        sys.exit(f"meadow-verify: {error.name} is not installed; run: pip install 'meadow-network[verify]'")
