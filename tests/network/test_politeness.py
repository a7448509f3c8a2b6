"""What a site and a lab see of a whole network: robots rules, pace, redirects, statuses."""

import socket
import time
from itertools import pairwise

import pytest

from tests.network.conftest import CRAWL_DELAY_S, Network


def test_a_page_comes_back_with_its_words_and_its_record(network: Network) -> None:
    answer = network.up.lab.scrape(network.site.url("/p/first"))
    assert answer.status == 200
    assert "Page /p/first" in answer.body["data"]["markdown"]
    assert answer.body["data"]["metadata"]["provenance"]["logIndex"] >= 0


def test_a_page_that_robots_txt_disallows_is_refused_and_never_asked_for(network: Network) -> None:
    answer = network.up.lab.scrape(network.site.url("/private/diary"))
    assert answer.status == 403
    assert "robots" in answer.body["error"]
    assert network.site.visits("/robots.txt")
    assert not network.site.visits("/private/diary")


def test_a_redirect_to_a_page_that_robots_txt_disallows_is_not_followed(network: Network) -> None:
    answer = network.up.lab.scrape(network.site.url("/to?" + network.site.url("/private/hidden")))
    assert answer.status == 403
    assert "robots" in answer.body["error"]
    assert not network.site.visits("/private/hidden")


def test_a_redirect_to_a_private_address_is_refused_and_nothing_is_connected_to(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.settimeout(0.3)
        port = inside.getsockname()[1]
        for target in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/", f"http://[::ffff:7f00:1]:{port}/"):
            answer = network.up.lab.scrape(network.site.url(f"/to?{target}"))
            assert answer.status == 403, answer
            assert answer.body["code"] == "REDIRECT_REFUSED", answer
            assert "redirects to a refused" in answer.body["error"], answer
        with pytest.raises(TimeoutError):
            inside.accept()


def test_a_private_address_asked_for_outright_is_refused(network: Network) -> None:
    answer = network.up.lab.scrape("http://169.254.169.254/latest/meta-data/")
    assert answer.status in (400, 403)
    assert answer.body["success"] is False


def test_crawl_delay_holds_over_all_nodes(network: Network) -> None:
    urls = [network.paced.url(f"/p/{number}") for number in range(8)]
    status = network.up.lab.wait(network.up.lab.batch(urls))
    assert status["completed"] == len(urls)
    arrivals = sorted(seen.at_s for seen in network.paced.seen if seen.path != "/robots.txt")
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(gaps) == len(urls) - 1
    assert min(gaps) >= CRAWL_DELAY_S, [round(gap, 3) for gap in gaps]


def test_retry_after_is_waited_for_by_every_node(network: Network) -> None:
    assert network.up.lab.scrape(network.busy.url("/p/warm")).status == 200
    started = time.monotonic()
    batch_id = network.up.lab.batch([network.busy.url("/busy/a")])
    while not network.busy.visits("/busy/a"):
        assert time.monotonic() - started < 10
        time.sleep(0.01)
    time.sleep(0.3)
    later = network.up.lab.batch([network.busy.url(f"/p/{number}") for number in range(5)])
    assert network.up.lab.wait(batch_id)["completed"] == 1
    assert network.up.lab.wait(later)["completed"] == 5
    first, second = network.busy.visits("/busy/a")
    assert second - first >= 2.0
    assert not [seen for seen in network.busy.seen if first < seen.at_s < first + 2.0]


def test_an_error_page_is_a_document_with_its_status(network: Network) -> None:
    answer = network.up.lab.scrape(network.site.url("/status/404"))
    assert answer.status == 200
    assert answer.body["data"]["metadata"]["statusCode"] == 404


def test_a_site_that_does_not_answer_fails_with_a_reason(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answer = network.up.lab.scrape(f"http://127.0.0.1:{port}/")
    assert answer.status in (400, 403)
    assert "127.0.0.1" not in answer.body["error"].replace(f"http://127.0.0.1:{port}/", "")
