"""Where a key stands with the requests it may make."""

import msgspec


class RateStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key stands after a request: `limit` requests a minute, `remaining` now, the next one in `wait_ms` (0: at
    once), all of them in `full_ms`. The request itself was `granted` or not."""

    limit: int
    granted: bool
    remaining: int
    wait_ms: int
    full_ms: int
