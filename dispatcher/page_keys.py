"""What a fetched page is found by later: a hash of its URL and of everything that may change the answer of its site.

A page that was fetched for any team may answer another team's request: it is public, and nothing of the first request
is told. The key holds what a site can see of a request (country, languages, declared purpose); so it is no answer to a
request that would have looked different. Changes are told against a team's own earlier versions alone.
"""

import hashlib

from dispatcher.batch_options import MODE
from dispatcher.jobs import ScrapeOptions
from protocol.keys import to_base64url

_BYTES = 16


def answer_key(url: str, options: ScrapeOptions) -> str:
    """Return what a page fetched with these options may answer. `url` is normalised."""
    return _key("answer", url, MODE, options.purpose, options.country or "", options.accept_language or "")


def tracking_key(team_id: str, url: str, tag: str | None) -> str:
    """Return what a team's tracked versions of a page are found by."""
    return _key("tracking", url, team_id, "" if tag is None else f"={tag}")


def _key(*parts: str) -> str:
    # No part holds a line feed but the tag, which is the last.
    return to_base64url(hashlib.sha256("\n".join(parts).encode()).digest()[:_BYTES])
