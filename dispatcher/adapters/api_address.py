"""The address that links of the API begin with."""

from aiohttp import web


class ApiAddress:
    """Where labs reach this API: at `public_url`, as the operator says, else at wherever a request came to.

    A request says by its Host header where it came to (RFC 9110, section 7.2). `is_secure` says that it came through
    a TLS proxy: its scheme was https then, whatever it is here.
    """

    def __init__(self, public_url: str | None = None, *, is_secure: bool = False) -> None:
        self.public_url = public_url.rstrip("/") if public_url else ""
        self._is_secure = is_secure

    def of(self, request: web.Request) -> str:
        """Return the address for whoever sent a request, without a slash at the end."""
        return self.public_url or f"{'https' if self._is_secure else request.scheme}://{request.host}"
