"""The order of the whole suite, and what is the same for every test."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about what it tests.
settings.register_profile("meadow", deadline=None)
settings.load_profile("meadow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest, by the bound they give themselves.

    Workers take whole files in this order: none starts a long one while the others have nothing left to do.
    """
    bounds: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        bounds[item.path] = max(bounds.get(item.path, 0.0), float(marker.args[0]) if marker else 0.0)
    items.sort(key=lambda item: -bounds[item.path])


def pytest_collection_finish() -> None:
    """What was collected stays to the end: nobody looks for cycles in it again."""
    gc.collect()
    gc.freeze()
