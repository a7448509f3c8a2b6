"""The sites a test may allow on this machine, and what a person must be told at start."""

from collections.abc import Sequence

from dispatcher.errors import SetupError
from protocol.urls import TestSites


def parse_test_sites(names: Sequence[str] | None) -> TestSites:
    """Read the values of `--allow-test-site`; SetupError where one is no host and port."""
    try:
        return TestSites.parse(tuple(names or ()))
    except ValueError as error:
        raise SetupError(f"--allow-test-site: {error}") from error


def announce(test_sites: Sequence[str], simulator: bool) -> list[str]:
    """Return the warnings a person must see at start."""
    warnings = []
    if test_sites:
        warnings.append(
            f"TEST SITES ALLOWED: {', '.join(test_sites)}. Loopback is reachable there; never do this in production."
        )
    if simulator:
        warnings.append(
            "The Solana chain is an embedded SIMULATOR: anchors and payments prove the code paths, not immutability."
        )
    return warnings
