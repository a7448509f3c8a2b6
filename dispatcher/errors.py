"""What can go wrong in the dispatcher, by whose fault it is.

DispatcherError                  the root
├── RequestError                 the lab's request cannot be served; has an HTTP status and a code
│   ├── BadRequest               400: names the field, what it got and what it accepts
│   ├── Unauthorized             401
│   │   ├── KeyExpired           401: the right key, past its time
│   │   └── KeyRevoked           401: the right key, revoked
│   ├── PaymentRequired          402: not enough prepaid credits
│   ├── Forbidden                403: the key lacks a scope
│   ├── NotFound                 404
│   │   └── NotCached            404: nothing is to be fetched, and no earlier version of the page is kept
│   ├── Conflict                 409
│   │   ├── IdempotencyConflict  409: an idempotency key used again with another body
│   │   └── StillServed          409: an idempotency key whose first request is not answered yet
│   └── TooManyRequests          429: with the seconds to wait
│       ├── RateLimited          429: the key makes requests too fast
│       ├── ConcurrencyReached   429: the key has too many pages in progress
│       └── DailyBudgetReached   429: the key has used the credits of its day
├── StoreError                   a store the dispatcher depends on does not do its part
│   ├── LedgerError              the SQL database
│   │   ├── LedgerFull           the disk is full: nothing of the write is kept
│   │   └── LeadershipLost       a duty was done in the name of a lease that another dispatcher has now
│   ├── FrontierError            the Redis server
│   └── ObjectError              the object store
├── ModelError                   the operator's model cannot be had, or answers something else than it was asked for
├── PictureError                 the operator's browser cannot be had, or makes no picture of a page
├── HandshakeRefused             a request that opens no WebSocket here: with the HTTP status to answer
├── WebSocketViolation           a node's bytes break RFC 6455 or a limit: with the code to close the connection with
└── SetupError                   the network cannot start: what is missing or in the way, and what to do
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.rate_standing import RateStanding


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


class KeyExpired(Unauthorized):
    """A key whose time is over."""

    code = "KEY_EXPIRED"


class KeyRevoked(Unauthorized):
    """A key that was revoked."""

    code = "KEY_REVOKED"


class PaymentRequired(RequestError):
    """The team's prepaid credits do not cover what is asked; amounts in credits."""

    status = 402
    code = "INSUFFICIENT_CREDITS"

    def __init__(self, message: str, *, balance: int, needed: int) -> None:
        super().__init__(message)
        self.balance, self.needed = balance, needed


class Forbidden(RequestError):
    """The key is known and may not do this."""

    status = 403
    code = "FORBIDDEN"


class NotFound(RequestError):
    """Nothing of that id belongs to this key's team."""

    status = 404
    code = "NOT_FOUND"


class NotCached(NotFound):
    """Nothing is to be fetched, and no earlier version of the page is kept."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Conflict(RequestError):
    """The request does not fit the state of what it names."""

    status = 409
    code = "CONFLICT"


class IdempotencyConflict(Conflict):
    """An idempotency key that was used before with another request."""

    code = "IDEMPOTENCY_CONFLICT"


class StillServed(Conflict):
    """A request with an idempotency key whose first one is still being served."""

    code = "IDEMPOTENCY_IN_PROGRESS"


class TooManyRequests(RequestError):
    """A limit is reached; `retry_after_s` is how long to wait."""

    status = 429
    code = "TOO_MANY_REQUESTS"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConcurrencyReached(TooManyRequests):
    """The key has as many pages in progress as it may have."""

    code = "CONCURRENCY_LIMIT"


class DailyBudgetReached(TooManyRequests):
    """The key has used the credits it may use in a day."""

    code = "DAILY_BUDGET_REACHED"


class RateLimited(TooManyRequests):
    """The key makes requests faster than it may; `standing` says how fast that is."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_s: int, standing: "RateStanding") -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.standing = standing


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


class ModelError(DispatcherError):
    """The operator's model cannot be had, or answers something else than it was asked for; the message is for labs."""


class PictureError(DispatcherError):
    """The operator's browser cannot be had, or makes no picture of a page; the message is for labs."""


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
