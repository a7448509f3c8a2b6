"""The job key stays certified for as long as a dispatcher runs, and every certificate stays public."""

import asyncio
from pathlib import Path

from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.certificate_service import CertificateService
from dispatcher.job_signer import CERTIFICATE_LIFETIME_MS
from protocol.job import open_certificate
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.log_info import CERTIFICATES_PATH, decode_certificates

START_MS = 1_800_000_000_000


async def test_a_certificate_is_used_for_half_its_time_and_then_renewed(tmp_path: Path) -> None:
    now = [START_MS]
    tiles = LocalTiles(tmp_path)
    root, job_key = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
    service = CertificateService(store=tiles, root=root, job_key=job_key, clock=lambda: now[0], bus=MemoryBus())
    signer = await service.open_signer()
    first = signer.certificate
    now[0] = START_MS + CERTIFICATE_LIFETIME_MS // 2 - 60_000
    await service.renew()
    await service.refresh(signer)
    assert signer.certificate == first
    now[0] = START_MS + CERTIFICATE_LIFETIME_MS // 2 + 60_000
    await service.renew()
    await service.refresh(signer)
    assert signer.certificate != first
    assert open_certificate(signer.certificate, now_ms=now[0], root_key=root.public).serial == 1
    public = decode_certificates((tmp_path / CERTIFICATES_PATH).read_bytes())
    assert public == (first, signer.certificate)


async def test_a_new_job_key_gets_a_certificate_of_its_own(tmp_path: Path) -> None:
    tiles, root = LocalTiles(tmp_path), SigningKey(b"\1" * 32)
    for number in (2, 3):
        service = CertificateService(
            store=tiles, root=root, job_key=SigningKey(bytes([number]) * 32), clock=lambda: START_MS, bus=MemoryBus()
        )
        signer = await service.open_signer()
        assert open_certificate(signer.certificate, now_ms=START_MS).job_key == signer.job_key.public
    assert len(decode_certificates((tmp_path / CERTIFICATES_PATH).read_bytes())) == 2


async def test_every_dispatcher_follows_what_one_of_them_renews(tmp_path: Path) -> None:
    hub, now = MemoryHub(), [START_MS]
    tiles, root, job_key = LocalTiles(tmp_path), SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
    services = [
        CertificateService(store=tiles, root=root, job_key=job_key, clock=lambda: now[0], bus=MemoryBus(hub))
        for _ in range(3)
    ]
    signers = [await service.open_signer() for service in services]
    assert len({signer.certificate for signer in signers}) == 1
    following = [asyncio.create_task(pair[0].follow(pair[1])) for pair in zip(services, signers, strict=True)]
    now[0] = START_MS + CERTIFICATE_LIFETIME_MS // 2 + 60_000
    before = signers[0].certificate
    await services[1].renew()
    async with asyncio.timeout(5):
        while any(signer.certificate == before for signer in signers):
            await asyncio.sleep(0.01)
    assert len({signer.certificate for signer in signers}) == 1
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
