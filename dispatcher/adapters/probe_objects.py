"""What `meadow doctor` finds out about the object store: a small object is written, read back, and taken away again."""

import asyncio
import hashlib
import secrets

from dispatcher.doctor import Check, fail, judge_error, ok
from dispatcher.errors import ObjectError
from dispatcher.objects import ObjectStore

KIND = "doctor"
ANSWER_S = 10.0
_FAR_MS = 2**53


async def probe_objects(store: ObjectStore, where: str) -> Check:
    """Try the store at `where`, an address without credentials."""
    data = secrets.token_bytes(64)
    name = hashlib.sha256(data).hexdigest()
    try:
        async with asyncio.timeout(ANSWER_S):
            await store.put(KIND, name, data)
            found = await store.get(KIND, name)
            await store.set_aside(KIND, [name])
            copies = await store.aside(KIND, older_than_ms=_FAR_MS)
            await store.erase(KIND, copies)
            gone = await store.get(KIND, name) is None
    except ObjectError as error:
        return judge_error("object-store", error)
    except TimeoutError:
        return fail(
            "object-store", f"{where} did not answer within {ANSWER_S:.0f} s", "look whether it runs and is reachable"
        )
    if found != data:
        return fail("object-store", f"{where} does not give back what was stored", "name another store")
    if not gone:
        return fail("object-store", f"{where} does not delete", "allow this account to delete objects")
    return ok("object-store", f"{where}: written, read, deleted")
