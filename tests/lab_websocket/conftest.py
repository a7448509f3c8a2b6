"""Desks with an open ledger, and a client of their WebSockets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from dispatcher.ledger import Ledger
from tests.lab_desk import Desk, Desks
from tests.stores import opened_ledger

PATIENCE_S = 30.0


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened_ledger(tmp_path / "ledger.sqlite", shared=True) as opened:
        yield opened


@pytest.fixture
def desks() -> Desks:
    return Desks()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def desk(desks: Desks, ledger: Ledger) -> AsyncIterator[Desk]:
    async with desks.desk(ledger) as opened:
        yield opened


@pytest.fixture
async def key(desks: Desks, ledger: Ledger) -> str:
    return await desks.key(ledger)


async def watch(http: ClientSession, desk: Desk, key: str, batch_id: str) -> ClientWebSocketResponse:
    return await http.ws_connect(
        f"{desk.url}/v2/batch/scrape/{batch_id}", headers={"Authorization": f"Bearer {key}"}, max_msg_size=0
    )


async def frame(socket: ClientWebSocketResponse) -> dict[str, Any]:
    """The next frame."""
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = await socket.receive_json()
    return found


async def frames_to_the_end(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All frames until the server closes."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            frames.append(message.json())
    return frames


def documents_in(frames: list[dict[str, Any]]) -> list[str]:
    """The URLs of all documents that frames hold, in order."""
    found: list[dict[str, Any]] = []
    for each in frames:
        if each["type"] == "document":
            found.append(each["data"])
        elif each["type"] in {"catchup", "done"}:
            found.extend(each["data"]["data"])
    return [document["metadata"]["sourceURL"] for document in found]
