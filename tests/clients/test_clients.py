"""Published clients of Firecrawl's API work unmodified against a real dispatcher with real nodes."""

from collections.abc import Iterator

import pytest

from tests.clients.client_runs import CLIENTS, missing, run_client, settings
from tests.clients.site import Site, serving
from tests.network.processes import Up

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Site]]:
    if reason := missing():
        pytest.skip(reason)
    with serving() as site:
        up = Up(tmp_path_factory.mktemp("clients"), nodes=3, sites=[site.address], env=settings()).started()
        try:
            yield up, site
        finally:
            up.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_check_passes(network: tuple[Up, Site], client: str) -> None:
    up, site = network
    checks = run_client(client, up, site)
    assert checks
    assert [f"{check.check}: {check.problem}" for check in checks if check.problem] == []
    assert sum(check.calls for check in checks) >= len(checks)
