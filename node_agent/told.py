"""What a dispatcher told of this node, as `meadow-node status` shows it. Texts of others are made harmless."""

import msgspec

from node_agent.lines import printable
from protocol.messages import Balance, Reputation

_NAME_CHARACTERS = 40
_REASON_CHARACTERS = 300


def balance_facts(balance: Balance | None) -> dict[str, object]:
    """What was earned, base units of the token; nothing before the dispatcher said anything."""
    if balance is None:
        return {}
    return {
        "reward_pending": balance.pending,
        "reward_confirmed": balance.confirmed,
        "reward_paid": balance.paid,
        "reward_void": balance.void,
    }


def reputation_facts(reputation: Reputation | None) -> dict[str, object]:
    """The score with its parts; nothing before the dispatcher said anything."""
    if reputation is None:
        return {}
    return {"reputation": reputation.score, "reputation_parts": msgspec.to_builtins(reputation.parts)}


def part_lines(reputation: Reputation | None) -> list[str]:
    """Each part of a reputation on one line."""
    if reputation is None:
        return []
    return [
        f"  {_one_line(part.name, _NAME_CHARACTERS):<16}{part.value:>5}  {_one_line(part.reason, _REASON_CHARACTERS)}"
        for part in reputation.parts
    ]


def _one_line(text: str, characters: int) -> str:
    return printable(text[:characters]).replace("\n", " ")
