"""What can go wrong in the dispatcher, by whose fault it is.

DispatcherError                  the root
├── RequestError                 the lab's request cannot be served; has an HTTP status and a code
│   ├── BadRequest               400: names the field, what it got and what it accepts
│   ├── Unauthorized             401
│   ├── NotFound                 404
│   ├── Conflict                 409
│   │   └── IdempotencyConflict  409: an idempotency key used again with another body
│   └── TooManyRequests          429: with the seconds to wait
├── StoreError                   a store the dispatcher depends on does not do its part
│   ├── LedgerError              the SQL database
│   │   ├── LedgerFull           the disk is full: nothing of the write is kept
│   │   └── LeadershipLost       a duty was done in the name of a lease that another dispatcher has now
│   ├── FrontierError            the Redis server
│   └── ObjectError              the object store
├── HandshakeRefused             a request that opens no WebSocket here: with the HTTP status to answer
├── WebSocketViolation           a node's bytes break RFC 6455 or a limit: with the code to close the connection with
└── SetupError                   the network cannot start: what is missing or in the way, and what to do
"""


class DispatcherError(Exception):
    """The root of everything this package raises."""


class RequestError(DispatcherError):
    """A request that cannot be served. `status` is the HTTP status, `code` a stable machine-readable reason."""

    status = 500
    code = "INTERNAL"


class BadRequest(RequestError):
    """A request that does not say what it must: the message names the field, what it got and what it accepts."""

    status = 400
    code = "BAD_REQUEST"


class Unauthorized(RequestError):
    """No key, an unknown key or a revoked one."""

    status = 401
    code = "UNAUTHORIZED"


class NotFound(RequestError):
    """Nothing of that id belongs to this key's team."""

    status = 404
    code = "NOT_FOUND"


class Conflict(RequestError):
    """The request does not fit the state of what it names."""

    status = 409
    code = "CONFLICT"


class IdempotencyConflict(Conflict):
    """An idempotency key that was used before with another request."""

    code = "IDEMPOTENCY_CONFLICT"


class TooManyRequests(RequestError):
    """A limit is reached; `retry_after_s` is how long to wait."""

    status = 429
    code = "TOO_MANY_REQUESTS"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreError(DispatcherError):
    """A store the dispatcher depends on does not do its part."""


class LedgerError(StoreError):
    """The SQL database refused or failed."""


class LedgerFull(LedgerError):
    """The disk is full: nothing of the write is kept; free some space, the network goes on by itself."""


class LeadershipLost(LedgerError):
    """The duty has passed to another dispatcher: nothing of the write is kept; do not try again."""


class FrontierError(StoreError):
    """The Redis server is not reachable or refused."""


class ObjectError(StoreError):
    """The object store failed to write or read."""


class HandshakeRefused(DispatcherError):
    """A request that opens no WebSocket here; `status` is the HTTP answer, `retry_after_s` when to come again."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class WebSocketViolation(DispatcherError):
    """What a node sent breaks the rules of WebSockets or a limit; `close_code` is the answer (RFC 6455, 7.4)."""

    def __init__(self, message: str, close_code: int) -> None:
        super().__init__(message)
        self.close_code = close_code


class SetupError(DispatcherError):
    """The network cannot start; the message says what is missing or in the way, and what to do."""


class LabClientError(DispatcherError):
    """The root of what the client raises; the message says what happened and what to do."""


class ApiUnreachable(LabClientError):
    """No answer from the address."""


class ApiAnswerError(LabClientError):
    """An answer that is not one of this API."""


class DownloadError(LabClientError):
    """A file that is not what the API announced, or that cannot be written."""


class ApiRefused(LabClientError):
    """The API says no. `status` is the HTTP status, `code` the API's stable reason."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
