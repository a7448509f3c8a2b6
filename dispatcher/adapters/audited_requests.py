"""Notes in the audit log what keys changed: every request that changes something and was served, but for what notes
itself (keys, and jobs with their submission)."""

from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from dispatcher.adapters.lab_auth import known_caller
from dispatcher.adapters.lab_errors import Handler
from dispatcher.audit import Auditor

UNNOTED: Final = frozenset({"/v2/scrape", "/v2/batch/scrape", "/v2/crawl", "/v2/map", "/v2/search", "/v1/estimate"})
"""Posts that change nothing, or whose jobs are noted with their submission."""
_KEYS: Final = "/v1/keys"
_CHANGING: Final = {
    hdrs.METH_POST: "made",
    hdrs.METH_PUT: "set",
    hdrs.METH_PATCH: "changed",
    hdrs.METH_DELETE: "deleted",
}
ACTIONS: Final = {
    (hdrs.METH_DELETE, "/v2/batch/scrape/{id}"): "job.cancelled",
    (hdrs.METH_DELETE, "/v2/crawl/{id}"): "job.cancelled",
    (hdrs.METH_POST, "/v1/webhooks/secret"): "webhook.secret_rotated",
    (hdrs.METH_POST, "/v1/webhooks/deliveries/{id}/redeliver"): "webhook.redelivered",
}


class _Made(msgspec.Struct):
    id: str = ""


def note_changes(auditor: Auditor) -> Middleware:
    """Make the middleware. It stands inside of `json_errors` and of `repeat_answers`."""

    @web.middleware
    async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        caller = known_caller(request)
        action = _action(request)
        if caller is not None and action is not None and response.status == 200:
            await auditor.note(caller.team_id, caller.key_id, action, _subject(request, response))
        return response

    return noted


def _action(request: web.Request) -> str | None:
    """What a request does, in two words: `dataset.made`; None for one that changes nothing or is noted elsewhere."""
    resource = request.match_info.route.resource
    path = "" if resource is None else resource.canonical
    if request.method not in _CHANGING or path in UNNOTED or path.startswith(_KEYS):
        return None
    named = ACTIONS.get((request.method, path))
    if named is not None:
        return named
    parts = [part for part in path.split("/") if part and not part.startswith("{")]
    return f"{parts[1].removesuffix('s')}.{_CHANGING[request.method]}" if len(parts) > 1 else None


def _subject(request: web.Request, response: web.StreamResponse) -> str:
    """The id of what was changed: in the address, else in the answer."""
    if "id" in request.match_info:
        return request.match_info["id"]
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        try:
            return msgspec.json.decode(response.body, type=_Made).id
        except msgspec.MsgspecError:
            return ""
    return ""
