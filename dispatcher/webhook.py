"""Where a job's events are to be sent: the `webhook` field of a request, validated when the job is submitted.

A URL, or an object: `url`, `headers` that every event is sent with, `metadata` that every event repeats, and the
`events` that are wanted. The receiver is held to the rules of every other URL that may be asked for (protocol.urls).
"""

import re
from typing import Final, Literal, get_args

import msgspec

from dispatcher.request_fields import JsonObject, JsonValue, Problem, shown
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url

WebhookEvent = Literal["started", "page", "completed", "failed"]
EVENTS: Final[tuple[WebhookEvent, ...]] = get_args(WebhookEvent)
MAX_HEADERS: Final = 20
HEADER_NAME_CHARACTERS: Final = 100
HEADER_VALUE_CHARACTERS: Final = 1_024
METADATA_BYTES: Final = 8_192
OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-firecrawl-signature",
    }
)
OWN_PREFIXES: Final = ("meadow-", "proxy-", "sec-")
_FIELDS = ("url", "headers", "metadata", "events")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_URL = "an absolute http or https URL of a public host"
_HEADERS = (
    f"an object of at most {MAX_HEADERS} headers: names of at most {HEADER_NAME_CHARACTERS} characters, values of at"
    f" most {HEADER_VALUE_CHARACTERS} printable ASCII characters"
)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job's events go. `url` is normalised, `host` is its host, with its port where that is not the scheme's
    own. `metadata` is a JSON object, as the lab wrote it."""

    url: str
    host: str
    headers: dict[str, str] = {}
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    events: tuple[WebhookEvent, ...] = EVENTS


def read_webhook(value: JsonValue, *, test_sites: TestSites = NO_TEST_SITES) -> Webhook | list[Problem]:
    """Read the `webhook` field of a request, or say everything that is wrong with it."""
    if not isinstance(value, str | dict):
        return [Problem("webhook", shown(value), f"{_URL}, or an object with {', '.join(_FIELDS)}")]
    fields: JsonObject = {"url": value} if isinstance(value, str) else value
    place = "webhook" if isinstance(value, str) else "webhook.url"
    problems = [
        Problem(f"webhook.{name[:100]}", shown(fields[name]), "nothing", f"a webhook has {', '.join(_FIELDS)}")
        for name in fields.keys() - set(_FIELDS)
    ]
    receiver = _read_url(fields.get("url"), place, problems, test_sites)
    headers = _read_headers(fields.get("headers"), problems)
    metadata = _read_metadata(fields.get("metadata"), problems)
    events = _read_events(fields.get("events"), problems)
    if problems or receiver is None:
        return problems
    return Webhook(url=receiver.href, host=receiver.origin_host, headers=headers, metadata=metadata, events=events)


def _read_url(value: JsonValue, place: str, problems: list[Problem], test_sites: TestSites) -> AllowedUrl | None:
    if not isinstance(value, str):
        problems.append(Problem(place, "nothing" if value is None else shown(value), _URL))
        return None
    checked = check_url(value, test_sites=test_sites)
    if isinstance(checked, AllowedUrl):
        return checked
    problems.append(Problem(place, shown(value), _URL, checked.detail))
    return None


def _read_headers(value: JsonValue, problems: list[Problem]) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        problems.append(Problem("webhook.headers", shown(value), _HEADERS))
        return {}
    headers: dict[str, str] = {}
    for name, text in value.items():
        place = f"webhook.headers.{name[:HEADER_NAME_CHARACTERS]}"
        if not _TOKEN.fullmatch(name) or len(name) > HEADER_NAME_CHARACTERS:
            problems.append(Problem(place, shown(name), _HEADERS, "not the name of a header (RFC 9110, 5.1)"))
        elif name.lower() in OWN_HEADERS or name.lower().startswith(OWN_PREFIXES):
            problems.append(Problem(place, shown(text), "nothing", "this header is the network's own"))
        elif name.lower() in map(str.lower, headers):
            problems.append(Problem(place, shown(text), "nothing", "the header is there twice"))
        elif not isinstance(text, str) or len(text) > HEADER_VALUE_CHARACTERS or not _VALUE.fullmatch(text):
            problems.append(Problem(place, shown(text), _HEADERS))
        else:
            headers[name] = text
    return headers


def _read_metadata(value: JsonValue, problems: list[Problem]) -> msgspec.Raw:
    if value is None:
        return msgspec.Raw(b"{}")
    encoded = msgspec.json.encode(value)
    if not isinstance(value, dict) or len(encoded) > METADATA_BYTES:
        problems.append(Problem("webhook.metadata", shown(value), f"an object of at most {METADATA_BYTES} bytes"))
    return msgspec.Raw(encoded)


def _read_events(value: JsonValue, problems: list[Problem]) -> tuple[WebhookEvent, ...]:
    if value is None:
        return EVENTS
    wanted = tuple(event for event in EVENTS if isinstance(value, list) and event in value)
    if not isinstance(value, list) or not value or any(item not in EVENTS for item in value):
        problems.append(Problem("webhook.events", shown(value), f"a list of {' or '.join(EVENTS)}"))
    return wanted
