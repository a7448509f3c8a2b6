"""What `meadow doctor` finds out by asking over HTTP: does a dispatcher answer here, and do nodes reach it."""

import asyncio

import aiohttp
import msgspec

from dispatcher.adapters.health import HealthAnswer
from dispatcher.adapters.probe_machine import port_is_free
from dispatcher.doctor import Check, fail, ok, warn

ANSWER_S = 5.0
_MISDIRECTED = 421


async def probe_port(host: str, port: int) -> Check:
    """Is the port free, or does a healthy dispatcher answer there?"""
    taken = await asyncio.to_thread(port_is_free, host, port)
    if taken is None:
        return ok("port", f"port {port} on {host} is free: no dispatcher runs there")
    shown_host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104  (compared with, not bound to)
    try:
        status, body = await _get(f"http://{shown_host}:{port}/healthz")
        health = msgspec.json.decode(body, type=HealthAnswer)
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        fix = "end the program that listens there, or choose another port with --port"
        return fail("port", f"port {port} on {host} cannot be used ({taken}), and no dispatcher answers there", fix)
    if status == 200 and health.ok:
        return ok("port", f"a dispatcher answers on port {port} and is healthy")
    wrong = "; ".join(f"{store}: {state}" for store, state in health.stores.items() if state != "ok")
    return fail("port", f"the dispatcher on port {port} is not healthy: {wrong}", "see the checks of its stores")


async def probe_public_host(name: str, *, secure: bool) -> Check:
    """Is the gateway reachable under a name that nodes dial?"""
    label, base = f"public-host {name}", f"{'https' if secure else 'http'}://{name}"
    try:
        status, _ = await _get(f"{base}/v1/node")
    except aiohttp.ClientConnectorCertificateError:
        return fail(label, "its TLS certificate is not valid", "renew it at the TLS proxy")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return warn(
            label,
            f"{base} is not reachable from this machine",
            "start the network, check DNS and the proxy; some routers do not let a machine reach its own public name",
        )
    if status == _MISDIRECTED:
        fix = "have the proxy pass the Host header on unchanged"
        return fail(label, "the gateway does not know the name it is dialled by", fix)
    if status in (400, 426, 503):
        return ok(label, f"{base} leads to a gateway")
    return fail(label, f"{base}/v1/node answers {status}, not as a gateway", "have the proxy pass WebSockets on to it")


async def _get(url: str) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url, allow_redirects=False) as answer:
        return answer.status, await answer.content.read(65_536)
