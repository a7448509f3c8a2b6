"""The entry point of `meadow-node`: says what to install where the extra `node` is missing."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from node_agent.cli import main as run

        run()
    except ModuleNotFoundError as error:
        sys.exit(f"meadow-node: {error.name} is not installed; run: pip install 'meadow-network[node]'")
