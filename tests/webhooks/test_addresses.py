"""Where events may go: receivers that point inward are refused, at submission or at the moment of connecting."""

import socket
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from dispatcher.webhook import MAX_HEADERS, METADATA_BYTES, Webhook, read_webhook
from protocol.urls import NO_TEST_SITES
from tests.lab_desk import pages, start_batch
from tests.webhooks.conftest import House, Receiver


class Names(AbstractResolver):
    """Names that resolve to what a test says, each time to the next address."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0"])
async def test_a_name_that_resolves_inward_is_refused_once_and_for_all(
    house: House, hook: Receiver, address: str
) -> None:
    asked = {"url": "http://inward.example/hook", "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty(resolver=Names(address)):
        (delivery,) = await house.settled(batch_id, 1)
    assert delivery["state"] == "failed"
    (attempt,) = delivery["attempts"]
    assert attempt["error"].startswith("the receiver's address is refused: ")
    assert address not in attempt["error"]
    assert hook.postings == []


async def test_a_receiver_that_turned_inward_since_is_refused(house: House, hook: Receiver) -> None:
    """A test site's own name may be on loopback; once the operator takes that back, what is stored goes nowhere."""
    asked = {"url": f"http://receiver.example:{hook.port}/hook", "events": ["started"]}
    for sites, state in ((house.desks.test_sites, "delivered"), (NO_TEST_SITES, "failed")):
        batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
        async with house.duty(resolver=Names("127.0.0.1"), test_sites=sites):
            (delivery,) = await house.settled(batch_id, 1)
        assert delivery["state"] == state
    assert len(hook.postings) == 1


async def test_a_redelivery_is_held_to_the_rules_again(house: House, hook: Receiver) -> None:
    asked = {"url": "http://inward.example/hook", "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty(resolver=Names("127.0.0.1")) as duty:
        (delivery,) = await house.settled(batch_id, 1)
        await house.ask("POST", f"/v1/webhooks/deliveries/{delivery['id']}/redeliver")
        duty.wake()
        (delivery,) = await house.settled(batch_id, 1)
    assert (delivery["state"], len(delivery["attempts"])) == ("failed", 2)


@pytest.mark.parametrize(
    ("webhook", "fields"),
    [
        (7, ["webhook"]),
        ("", ["webhook"]),
        ("ftp://a.example/hook", ["webhook"]),
        ("http://127.0.0.1/hook", ["webhook"]),
        ("http://[::1]/hook", ["webhook"]),
        ("http://0x7f000001/hook", ["webhook"]),
        ("http://localhost/hook", ["webhook"]),
        ("http://a.example:8080/hook", ["webhook"]),
        ("http://user:password@a.example/hook", ["webhook"]),
        ({}, ["webhook.url"]),
        ({"url": "http://10.0.0.1/"}, ["webhook.url"]),
        ({"url": "https://a.example", "evens": ["page"]}, ["webhook.evens"]),
        ({"url": "https://a.example", "events": []}, ["webhook.events"]),
        ({"url": "https://a.example", "events": ["page", "pages"]}, ["webhook.events"]),
        ({"url": "https://a.example", "headers": ["a"]}, ["webhook.headers"]),
        ({"url": "https://a.example", "headers": {"A B": "c"}}, ["webhook.headers.A B"]),
        ({"url": "https://a.example", "headers": {"A": 7}}, ["webhook.headers.A"]),
        ({"url": "https://a.example", "headers": {"A": "b\r\nC: d"}}, ["webhook.headers.A"]),
        ({"url": "https://a.example", "headers": {"A": "x" * 1_025}}, ["webhook.headers.A"]),
        ({"url": "https://a.example", "headers": {"Host": "b.example"}}, ["webhook.headers.Host"]),
        ({"url": "https://a.example", "headers": {"Meadow-Signature": "x"}}, ["webhook.headers.Meadow-Signature"]),
        ({"url": "https://a.example", "headers": {"a": "1", "A": "2"}}, ["webhook.headers.A"]),
        ({"url": "https://a.example", "headers": {f"H{n}": "" for n in range(MAX_HEADERS + 1)}}, ["webhook.headers"]),
        ({"url": "https://a.example", "metadata": "x"}, ["webhook.metadata"]),
        ({"url": "https://a.example", "metadata": {"a": "x" * METADATA_BYTES}}, ["webhook.metadata"]),
        (
            {"url": "x", "headers": {"Host": "b"}, "events": "page"},
            ["webhook.url", "webhook.headers.Host", "webhook.events"],
        ),
    ],
)
async def test_a_webhook_that_cannot_be_is_refused_with_every_field_at_fault(
    house: House, webhook: Any, fields: list[str]
) -> None:
    status, body = await house.ask("POST", "/v2/batch/scrape", json={"urls": pages(1), "webhook": webhook})
    assert status == 400, body
    assert sorted(problem["field"] for problem in body["details"]["problems"]) == sorted(fields)
    assert all(problem["accepts"] for problem in body["details"]["problems"])


def test_a_webhook_is_normalised() -> None:
    read = read_webhook({"url": "HTTPS://A.Example/x#y", "metadata": {"b": [1]}, "events": ["completed", "page"]})
    assert isinstance(read, Webhook)
    assert (read.url, read.host, bytes(read.metadata)) == ("https://a.example/x", "a.example", b'{"b":[1]}')
    assert read.events == ("page", "completed")
    plain = read_webhook("https://a.example")
    assert isinstance(plain, Webhook)
    assert plain.events == ("started", "page", "completed", "failed")


async def test_a_webhook_of_a_scrape_or_of_pages_added_later_is_refused(house: House, hook: Receiver) -> None:
    status, body = await house.ask("POST", "/v2/scrape", json={"url": pages(1)[0], "webhook": hook.url})
    assert (status, body["details"]["problems"][0]["field"]) == (400, "webhook")
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1))
    more = {"urls": pages(1), "appendToId": batch_id, "webhook": hook.url}
    status, body = await house.ask("POST", "/v2/batch/scrape", json=more)
    assert (status, body["details"]["problems"][0]["field"]) == (400, "webhook")
