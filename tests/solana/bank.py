"""A bank to pay from, an outbox that crashes where it is told to, and an RPC server that loses and doubles answers."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from solders.keypair import Keypair

from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.adapters.solana_token import (
    token_balance,
    token_balances,
)
from provenance.epoch import decode, encode, make_statement
from provenance.outbox import InMemoryOutbox, SignedTransaction

SUPPLY = 10**12


class Crash(BaseException):
    """Stands for the process ending at this point."""


class CrashingOutbox(InMemoryOutbox):
    """Keeps what is stored and ends the process at one named point, once."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self.point = point

    def _crash(self, point: str) -> None:
        if self.point == point:
            self.point = ""
            raise Crash(point)

    async def put_signed(self, entry: SignedTransaction) -> SignedTransaction:
        if entry.key.startswith("payout/"):
            self._crash("before store")
        stored = await super().put_signed(entry)
        if entry.key.startswith("payout/"):
            self._crash("between store and send")
        return stored

    async def mark_confirmed(self, key: str, signature: str, slot: int) -> None:
        self._crash("after send, before confirmation is stored")
        await super().mark_confirmed(key, signature, slot)
        self._crash("after confirmation is stored")


@dataclass
class Bank:
    rpc: SolanaRpc
    payer: Keypair
    mint: str
    wallets: list[str]

    def statement(self, epoch: int = 1, *, extra: int = 0) -> bytes:
        credits = {
            wallet: [(1_000 * epoch + 10 * n, 500 + n), (1_000 * epoch + 10 * n + 1, 700 + extra)]
            for n, wallet in enumerate(self.wallets)
        }
        return encode(
            make_statement(
                credits,
                origin="log.example",
                epoch=epoch,
                tariff="v1",
                mint=self.mint,
                decimals=6,
                payer=str(self.payer.pubkey()),
            )
        )

    def sender(self, outbox: InMemoryOutbox | None = None, rpc: SolanaRpc | None = None) -> Sender:
        return Sender(rpc or self.rpc, outbox or InMemoryOutbox(), poll_s=0.02, wait_s=20)

    async def paid_exactly(self, *statements: bytes, rpc: SolanaRpc | None = None) -> None:
        """Every wallet holds the sum of its credits, and the payer lacks exactly their total."""
        owed = dict.fromkeys(self.wallets, 0)
        for data in statements:
            for entry in decode(data).wallets:
                owed[entry.wallet] += entry.total
        held = await token_balances(rpc or self.rpc, self.mint, self.wallets)
        assert {wallet: amount or 0 for wallet, amount in held.items()} == owed
        left = await token_balance(rpc or self.rpc, self.mint, str(self.payer.pubkey()))
        assert left == SUPPLY - sum(owed.values())


@asynccontextmanager
async def faulty(url: str, *, seed: int, drop: float = 0, lose: float = 0, double: float = 0) -> AsyncIterator[str]:
    """An RPC that drops requests, loses answers after the chain acted, and delivers sends twice; yields its URL."""
    choose = random.Random(seed)

    async def forward(session: aiohttp.ClientSession, body: bytes) -> bytes:
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            return await answer.read()

    async with aiohttp.ClientSession() as session:

        async def relay(request: web.Request) -> web.Response:
            body = await request.read()
            fate = choose.random()
            if fate < drop:
                raise web.HTTPServiceUnavailable
            answer = await forward(session, body)
            if choose.random() < double:
                await forward(session, body)
            if choose.random() < lose:
                raise web.HTTPBadGateway
            return web.Response(body=answer, content_type="application/json")

        app = web.Application()
        app.router.add_post("/", relay)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
