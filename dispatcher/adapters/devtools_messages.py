"""The messages of the Chrome DevTools Protocol that taking a picture needs: of each, what is looked at."""

import msgspec


class Nothing(msgspec.Struct, frozen=True):
    """The answer to a command that has none."""


class Network(msgspec.Struct, frozen=True):
    """What the launcher says of the network it left the browser."""

    network: str


class Version(msgspec.Struct, frozen=True):
    """`Browser.getVersion`."""

    product: str


class Context(msgspec.Struct, frozen=True, rename={"browser_context_id": "browserContextId"}):
    """`Target.createBrowserContext`."""

    browser_context_id: str


class Target(msgspec.Struct, frozen=True, rename={"target_id": "targetId"}):
    """`Target.createTarget`."""

    target_id: str


class Session(msgspec.Struct, frozen=True, rename={"session_id": "sessionId"}):
    """`Target.attachToTarget`, and the event `Target.attachedToTarget`."""

    session_id: str


class Navigated(msgspec.Struct, frozen=True, rename={"error_text": "errorText"}):
    """`Page.navigate`: `error_text` where nothing is shown."""

    error_text: str | None = None


class Size(msgspec.Struct, frozen=True):
    """The part of a size that is looked at, in CSS pixels."""

    height: float


class Layout(msgspec.Struct, frozen=True, rename={"content": "cssContentSize"}):
    """`Page.getLayoutMetrics`."""

    content: Size


class Shot(msgspec.Struct, frozen=True):
    """`Page.captureScreenshot`: the picture in base64."""

    data: str


class Request(msgspec.Struct, frozen=True):
    """The part of a request that is looked at."""

    url: str


class Paused(msgspec.Struct, frozen=True, rename={"request_id": "requestId", "resource_type": "resourceType"}):
    """The event `Fetch.requestPaused`."""

    request_id: str
    request: Request
    resource_type: str = ""
