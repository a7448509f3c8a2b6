"""Members of a request's query, within bounds; BadRequest names the member, what it got and what it accepts."""

from aiohttp import web

from dispatcher.errors import BadRequest


def whole_query(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number."""
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 18 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name}: got {text[:40]!r}, accepts a whole number from {low} to {high}")


def word_query(request: web.Request, name: str, default: str, words: tuple[str, ...]) -> str:
    """Read one of several words."""
    text = request.query.get(name, default)
    if text in words:
        return text
    raise BadRequest(f"{name}: got {text[:40]!r}, accepts {' or '.join(words)}")


def known_query(request: web.Request, *names: str) -> None:
    """Refuse members that would be ignored."""
    for name in request.query:
        if name not in names:
            accepts = ", ".join(names) or "no members of a query"
            raise BadRequest(f"{name[:40]}: got {request.query[name][:40]!r}; this address accepts {accepts}")
