"""Answers that are given again for a moment."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dispatcher.answer_cache import AnswerCache, AnswerKey

ONE, OTHER = AnswerKey("team", "job", "/a"), AnswerKey("team", "job", "/a?skip=100")
ELSEWHERE, ANOTHER = AnswerKey("other", "job", "/a"), AnswerKey("team", "another", "/b")


class Moment:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Answers:
    """A cache, and what is asked of the ledger behind it."""

    def __init__(self, *, fresh_s: float = 0.25, max_bytes: int = 1_000) -> None:
        self.moment = Moment()
        self.cache = AnswerCache(monotonic=self.moment, fresh_s=fresh_s, max_bytes=max_bytes)
        self.made = 0

    async def ask(self, key: AnswerKey, body: bytes = b"") -> bytes:
        return await self.cache.answer(key, self.making(body))

    def making(self, body: bytes) -> Callable[[], Awaitable[bytes]]:
        async def make() -> bytes:
            self.made += 1
            return body or str(self.made).encode()

        return make


async def test_an_answer_is_given_again_while_it_is_fresh() -> None:
    answers = Answers()
    assert await answers.ask(ONE) == b"1"
    answers.moment.now_s += 0.24
    assert await answers.ask(ONE) == b"1"
    answers.moment.now_s += 0.01
    assert await answers.ask(ONE) == b"2"


async def test_another_question_and_another_team_get_their_own() -> None:
    answers = Answers()
    assert [await answers.ask(key) for key in (ONE, OTHER, ELSEWHERE)] == [b"1", b"2", b"3"]


async def test_what_changes_is_forgotten() -> None:
    answers = Answers()
    for key in (ONE, OTHER, ANOTHER):
        await answers.ask(key)
    answers.cache.forget("job")
    assert [await answers.ask(key) for key in (ONE, OTHER, ANOTHER)] == [b"4", b"5", b"3"]


async def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    answers, go_on = Answers(), asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return await answers.making(b"")()

    asking = [asyncio.create_task(answers.cache.answer(ONE, slow)) for _ in range(5)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*asking) == [b"1"] * 5
    assert answers.made == 1


async def test_who_asks_after_a_change_does_not_get_what_was_asked_before() -> None:
    answers, go_on = Answers(), asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return b"before"

    before = asyncio.create_task(answers.cache.answer(ONE, slow))
    await asyncio.sleep(0)
    answers.cache.forget("job")
    assert await answers.ask(ONE, b"after") == b"after"
    go_on.set()
    assert await before == b"before"
    assert await answers.ask(ONE) == b"after", "the late answer is not kept"


async def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    answers, go_on = Answers(), asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return b"there"

    leaving, staying = (asyncio.create_task(answers.cache.answer(ONE, slow)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    go_on.set()
    assert await staying == b"there"


async def test_an_error_reaches_everybody_and_is_not_kept() -> None:
    answers = Answers()

    async def fails() -> bytes:
        raise ValueError("no job")

    for _ in range(2):
        with pytest.raises(ValueError, match="no job"):
            await answers.cache.answer(ONE, fails)
    assert await answers.ask(ONE) == b"1"


async def test_the_oldest_answers_make_room() -> None:
    answers = Answers(max_bytes=10)
    await answers.ask(ONE, b"12345")
    await answers.ask(OTHER, b"12345")
    await answers.ask(ELSEWHERE, b"1")
    assert await answers.ask(OTHER, b"new") == b"12345"
    assert await answers.ask(ONE, b"new") == b"new"
    await answers.ask(ANOTHER, b"x" * 11)
    assert await answers.ask(ANOTHER, b"again") == b"again", "larger than all the room"


async def test_without_a_time_nothing_is_given_again() -> None:
    answers = Answers(fresh_s=0)
    assert [await answers.ask(ONE) for _ in range(2)] == [b"1", b"2"]
