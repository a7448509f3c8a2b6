"""What the program tells its owner before it does anything, and the record that the owner agreed.

A change of `TERMS` that alters what is done raises `TERMS_VERSION`; every owner is then asked again.
"""

from dataclasses import dataclass
from typing import Literal

TERMS_VERSION = 1

TERMS = """\
Meadow reads public web pages through your internet connection, for people who pay for it.

What it does
  - asks a dispatcher for work and fetches single public web pages with your connection and your IP address:
    the sites visited see your address, and the user agent MeadowBot
  - sends each page, with a signed record of the fetch, to the dispatcher
  - writes every URL it fetches to a log on this machine, with time, purpose, size and reward (meadow-node log)
  - uses memory, processor and up to the bandwidth you allow (meadow-node limits)

What it never does
  - reach your own network: addresses in your home, your router and this machine are refused, in every spelling
  - send or store cookies, log in, fill in forms, or carry anybody else's traffic
  - read your files, your browser or its history
  - run code that a dispatcher or a page sends
  - start by itself, hide, or change its own limits from outside

You decide
  - pause and resume, block domains, choose purposes, hours and daily limits, at any time, also while it runs
  - stop it with Ctrl-C; delete its data folder and nothing of it is left
"""

QUESTION = "Do you agree that this machine does this, until you stop it?"

REFUSED = "Nothing was started. Run the command again whenever you like."

NO_TERMINAL = (
    "meadow-node has to be told that its owner agrees, and there is no terminal to ask on. Read what it does with "
    "'meadow-node terms'; then run it once on a terminal, or add --accept-terms."
)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """That the owner accepted a version of the terms, when (UTC ms) and how."""

    version: int
    accepted_ms: int
    how: Literal["terminal", "option"]


def is_accepted(acceptance: Acceptance | None) -> bool:
    """Tell whether the terms as they stand now were accepted."""
    return acceptance is not None and acceptance.version == TERMS_VERSION
