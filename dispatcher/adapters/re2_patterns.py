"""Labs' regular expressions on RE2 (in Apache Arrow): matching takes time linear in the text, whatever the pattern.

RE2 has no look-around and no back-references. Its time is also linear in the size of the compiled pattern, which
counted repetitions multiply, so that size is bounded, and matching runs in a thread, without the interpreter's lock.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MAX_PATTERN_CHARACTERS: Final = 500
MAX_REPETITIONS: Final = 200
"""What the counts of a pattern's repetitions may come to, multiplied: `(a{10}){20}` is the largest of its kind."""
_AT_ONCE: Final = 500
_COUNTED = re.compile(r"\{(\d+)(?:,(\d*))?\}")


class Re2Patterns:
    """Implements `PathPatterns`. Owns how many threads match at once."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(2)

    def fault(self, pattern: str) -> str | None:
        """Say what is wrong with a pattern; None where it can be used."""
        if len(pattern) > MAX_PATTERN_CHARACTERS:
            return f"it has {len(pattern)} characters; at most {MAX_PATTERN_CHARACTERS}"
        times = 1
        for low, high in _COUNTED.findall(pattern):
            times *= max(1, min(10_000, int((high or low)[:6])))
            if times > MAX_REPETITIONS:
                return f"its counted repetitions multiply to more than {MAX_REPETITIONS}"
        try:
            pc.match_substring_regex(pa.array([""]), pattern=pattern)
        except pa.ArrowInvalid as error:
            return str(error).removeprefix("Invalid regular expression: ")[:200]
        return None

    async def any_of(self, patterns: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether one of the patterns is found in it."""
        async with self._places:
            found: list[bool] = []
            for start in range(0, len(texts), _AT_ONCE):
                found += await asyncio.to_thread(_any_of, patterns, texts[start : start + _AT_ONCE])
            return found


def _any_of(patterns: Sequence[str], texts: Sequence[str]) -> list[bool]:
    array = pa.array(texts, pa.string())
    found = [False] * len(texts)
    for pattern in patterns:
        matched = pc.match_substring_regex(array, pattern=pattern).to_pylist()
        found = [before or bool(now) for before, now in zip(found, matched, strict=True)]
    return found
