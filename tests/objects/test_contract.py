"""What every object store does: a folder, memory, and a bucket behind a real S3 server."""

import asyncio
import hashlib
import time
from collections.abc import Callable

import pytest

from dispatcher.errors import ObjectError
from dispatcher.objects import AsideCopy, ObjectStore

NAME = hashlib.sha256(b"body").hexdigest()
LATER_MS = 4_000_000_000_000


def named(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


async def listed(objects: ObjectStore, kind: str = "body", *, limit: int = 1_000) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await objects.page(kind, older_than_ms=LATER_MS, after=after, limit=limit)
        assert len(page.objects) <= limit
        names += [stored.name for stored in page.objects]
        after = page.after
    return names


async def aside(objects: ObjectStore, kind: str = "body") -> list[AsideCopy]:
    return await objects.aside(kind, older_than_ms=LATER_MS)


async def test_objects_read_back_by_kind_and_name(opened: Callable[[], ObjectStore]) -> None:
    objects, others = opened(), opened()
    assert await objects.get("body", NAME) is None
    await objects.put("body", NAME, b"encoded")
    await objects.put("document", NAME, b"other")
    await objects.put("body", f"{NAME}.gzip", b"packed")
    for store in (objects, others):
        assert await store.get("body", NAME) == b"encoded"
        assert await store.get("document", NAME) == b"other"
        assert await store.get("body", f"{NAME}.gzip") == b"packed"


async def test_a_name_stored_again_keeps_its_first_bytes(opened: Callable[[], ObjectStore]) -> None:
    objects, others = opened(), opened()
    await asyncio.gather(*(store.put("body", NAME, b"x" * 100_000) for store in (objects, others) for _ in range(10)))
    await objects.put("body", NAME, b"late")
    await others.put("body", NAME, b"late")
    assert await objects.get("body", NAME) == b"x" * 100_000
    assert await listed(objects) == [NAME]


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 24_000], ids=["empty", "zero", "6 MB"])
async def test_every_byte_comes_back(objects: ObjectStore, data: bytes) -> None:
    await objects.put("body", NAME, data)
    assert await objects.get("body", NAME) == data


@pytest.mark.parametrize(
    ("kind", "name"),
    [("..", NAME), ("body", "../../x"), ("body", NAME.upper()), ("", NAME), ("body", f"{NAME}/x"), ("body", "")],
)
async def test_names_that_are_no_hash_are_refused(objects: ObjectStore, kind: str, name: str) -> None:
    for work in (objects.put(kind, name, b""), objects.get(kind, name), objects.set_aside(kind, [name])):
        with pytest.raises(ObjectError, match="named by"):
            await work
    with pytest.raises(ObjectError, match="lower-case word"):
        await objects.page("../x", older_than_ms=0)
    with pytest.raises(ObjectError, match="lower-case word"):
        await objects.aside("../x", older_than_ms=0)


async def test_names_come_in_order_page_by_page_and_by_age(objects: ObjectStore) -> None:
    names = sorted([*(named(number) for number in range(10)), f"{named(3)}.gzip"])
    await asyncio.gather(*(objects.put("body", name, b"xyz") for name in names))
    await objects.put("document", NAME, b"other")
    for limit in (1, 4, 11, 12):
        assert await listed(objects, limit=limit) == names
    page = await objects.page("body", older_than_ms=LATER_MS, limit=1)
    assert page.objects[0].bytes == 3
    before = int(time.time() * 1000) - 60_000
    assert (await objects.page("body", older_than_ms=before)).objects == []
    assert await listed(objects, "screenshot") == []


async def test_what_is_set_aside_can_be_read_and_goes_only_when_erased(opened: Callable[[], ObjectStore]) -> None:
    objects, others = opened(), opened()
    await objects.put("body", NAME, b"x")
    await objects.put("body", named(1), b"kept")
    await objects.set_aside("body", [NAME, named(2)])
    assert await others.get("body", NAME) == b"x"
    assert await listed(objects) == [named(1)]
    [copy] = await aside(others)
    assert (copy.name, copy.bytes) == (NAME, 1)
    assert await objects.aside("body", older_than_ms=int(time.time() * 1000) - 60_000) == []
    assert await aside(objects, "document") == []
    await objects.set_aside("body", [NAME])
    assert await aside(objects) == [copy]
    for _ in range(2):
        await others.erase("body", [copy])
        assert await objects.get("body", NAME) is None
    assert await aside(objects) == []
    assert await objects.get("body", named(1)) == b"kept"


async def test_what_is_restored_stands_in_its_place(objects: ObjectStore) -> None:
    await objects.put("body", NAME, b"x")
    await objects.set_aside("body", [NAME])
    copies = await aside(objects)
    for _ in range(2):
        await objects.restore("body", copies)
        assert (await listed(objects), await aside(objects)) == ([NAME], [])
        assert await objects.get("body", NAME) == b"x"


async def test_an_object_stored_anew_outlives_the_copies_of_its_former_lives(opened: Callable[[], ObjectStore]) -> None:
    # Another dispatcher stores it: the first one would still trust what it has seen a moment ago.
    stores = [opened(), opened(), opened()]
    for store in stores:
        await store.put("body", NAME, b"x")
        await stores[0].set_aside("body", [NAME])
    copies = await aside(stores[0])
    assert len(copies) == 3
    anew = opened()
    await anew.put("body", NAME, b"x")
    await anew.restore("body", copies[:1])
    await anew.erase("body", copies[1:])
    assert (await listed(anew), await aside(anew)) == ([NAME], [])
    assert await anew.get("body", NAME) == b"x"


async def test_an_object_can_always_be_read_while_it_is_moved_to_and_fro(opened: Callable[[], ObjectStore]) -> None:
    # An object stays where it was moved to for far longer than a read takes: a read sees one move, or two.
    mover, reader = opened(), opened()
    await mover.put("body", NAME, b"x" * 10_000)
    reads, moving = 0, True

    async def read_meanwhile() -> None:
        seen = reads
        while reads == seen:
            await asyncio.sleep(0)

    async def move() -> None:
        nonlocal moving
        for _ in range(8):
            await mover.set_aside("body", [NAME])
            await read_meanwhile()
            await mover.restore("body", await aside(mover))
            await read_meanwhile()
        moving = False

    async def read() -> None:
        nonlocal reads
        try:
            while moving:
                assert await reader.get("body", NAME) == b"x" * 10_000
                reads += 1
                await asyncio.sleep(0)
        finally:
            reads += 1

    await asyncio.gather(move(), read())
    assert reads >= 16


async def test_many_objects_are_set_aside_and_erased_at_once(objects: ObjectStore) -> None:
    names = sorted(named(number) for number in range(80))
    await asyncio.gather(*(objects.put("document", name, b"x") for name in names))
    await objects.set_aside("document", names)
    copies = await aside(objects, "document")
    assert sorted(copy.name for copy in copies) == names
    assert len(await objects.aside("document", older_than_ms=LATER_MS, limit=40)) == 40
    await objects.erase("document", copies)
    assert (await aside(objects, "document"), await listed(objects, "document")) == ([], [])
