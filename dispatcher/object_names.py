"""Where an object stands in a folder or bucket, and which objects a store has seen lately. No IO."""

import re
from collections import OrderedDict

from dispatcher.errors import ObjectError
from dispatcher.objects import KNOWN_MS

_KIND = re.compile(r"[a-z][a-z_-]*")
_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z]+)?")
_MOST_KNOWN = 100_000


def is_name(text: str) -> bool:
    """Tell whether a text has the form of an object's name."""
    return _NAME.fullmatch(text) is not None


def checked_kind(kind: str) -> str:
    """Return a kind; ObjectError where it has not the form of one."""
    if not _KIND.fullmatch(kind):
        raise ObjectError(f"a kind of object is a lower-case word, not {kind!r}")
    return kind


def object_path(kind: str, name: str) -> str:
    """Return `<kind>/<first two characters>/<name>`; ObjectError where they have not the form of kind and name."""
    if not _KIND.fullmatch(kind) or not _NAME.fullmatch(name):
        raise ObjectError(f"an object is named by a kind and a lower-case SHA-256, not by {kind!r} and {name!r}")
    return f"{kind}/{name[:2]}/{name}"


class KnownNames:
    """Owns the objects that were seen in their places in the last `KNOWN_MS`, the newest `most` of them."""

    def __init__(self, most: int = _MOST_KNOWN) -> None:
        self._seen_ms: OrderedDict[str, float] = OrderedDict()
        self._most = most

    def add(self, path: str, asked_ms: float) -> None:
        """An object was in its place after `asked_ms`, a moment on a clock that never goes back."""
        self._seen_ms[path] = asked_ms
        self._seen_ms.move_to_end(path)
        if len(self._seen_ms) > self._most:
            self._seen_ms.popitem(last=False)

    def has(self, path: str, now_ms: float) -> bool:
        """Tell whether an object was seen in its place lately."""
        seen_ms = self._seen_ms.get(path)
        return seen_ms is not None and now_ms - seen_ms <= KNOWN_MS
