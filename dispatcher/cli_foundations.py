"""What a dispatcher stands on: its stores, keys and chain, agreed with the rest of the network."""

import os
import random
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from dispatcher.adapters.operator_keys import OperatorKeys, load_operator_keys
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.certificate_service import CertificateService
from dispatcher.chain import Chain, ChainFacts
from dispatcher.cli_chain import connect_chain, prepare_chain
from dispatcher.cli_stores import Stores, open_stores
from dispatcher.job_signer import JobSigner
from dispatcher.leader import led_once
from dispatcher.ledger import Ledger
from dispatcher.network_facts import require_agreement, secret_fingerprint
from dispatcher.settings import DispatcherSettings
from protocol.urls import TestSites
from provenance.checkpoint import NoteSigner
from provenance.log_info import LOG_INFO_PATH, LogInfo, encode_log_info
from provenance.tariff import TARIFF

_PREPARATION = "preparation"


@dataclass(frozen=True, slots=True)
class Foundations:
    """`dispatcher` names this run of this process; `origin` names the record log."""

    dispatcher: str
    stores: Stores
    keys: OperatorKeys
    certificates: CertificateService
    signer: JobSigner
    chain: Chain
    facts: ChainFacts
    origin: str
    test_sites: TestSites


async def lay_foundations(
    stack: AsyncExitStack,
    settings: DispatcherSettings,
    ledger: Ledger,
    *,
    work_dir: Path,
    test_sites: TestSites,
) -> Foundations:
    """Open and check everything beside the ledger; what must be closed is left with `stack`.

    Every address of `settings` and its keys folder are set. What a network needs once (its facts, its token on a
    simulator, its first certificate) is made by one dispatcher at a time.

    Raises:
        SetupError: something is missing or does not fit the network: what, and what to do.
    """
    assert settings.keys_dir and settings.solana_url
    keys = load_operator_keys(settings.keys_dir, solana_keypair=settings.solana_keypair)
    stores = await open_stores(stack, settings, ledger, work_dir=work_dir)
    dispatcher = f"{settings.dispatcher_id or socket.gethostname()[:64]}/{os.getpid()}/{new_id()[-12:]}"
    origin = settings.log_origin or f"meadow.localhost/{keys.log.public[:8]}"
    ours = {
        "root_key": keys.root.public,
        "job_key": keys.job.public,
        "log_key": keys.log.public,
        "api_key_secret": secret_fingerprint(keys.api_key_secret),
        "wallet": str(keys.wallet.pubkey()),
        "log_origin": origin,
        "object_store": stores.place,
        "frontier_shards": str(settings.frontier_shards),
    }
    rpc, chain = await connect_chain(stack, settings.solana_url, ledger, keys)
    certificates = CertificateService(
        store=stores.tiles, root=keys.root, job_key=keys.job, clock=now_ms, bus=stores.bus
    )
    fraction = random.SystemRandom().random
    preparing = led_once(
        _PREPARATION,
        ledger=ledger,
        holder=dispatcher,
        clock=now_ms,
        fraction=fraction,
        lease_ms=settings.duty_lease_ms,
    )
    async with preparing:
        require_agreement(ours, await ledger.agree(ours))
        facts = await prepare_chain(rpc, chain, keys, settings.token_mint)
        of_chain = {"chain": facts.genesis_hash, "token_mint": facts.mint}
        require_agreement(of_chain, await ledger.agree(of_chain))
        signer = await certificates.open_signer()
        await _publish_identity(stores, keys, origin, facts)
    return Foundations(
        dispatcher=dispatcher,
        stores=stores,
        keys=keys,
        certificates=certificates,
        signer=signer,
        chain=chain,
        facts=facts,
        origin=origin,
        test_sites=test_sites,
    )


async def _publish_identity(stores: Stores, keys: OperatorKeys, origin: str, facts: ChainFacts) -> None:
    info = LogInfo(
        origin=origin,
        vkey=NoteSigner(origin, keys.log).vkey,
        root_key=keys.root.public,
        anchor_address=facts.operator,
        payer_address=facts.operator,
        mint=facts.mint,
        genesis_hash=facts.genesis_hash,
        simulator=facts.simulator,
        tariff=TARIFF,
    )
    encoded = encode_log_info(info)
    if await stores.tiles.read(LOG_INFO_PATH) != encoded:
        await stores.tiles.replace(LOG_INFO_PATH, encoded)
