"""Stored keys are remembered for a moment, and no longer."""

from dispatcher.jobs import ApiKey
from dispatcher.recent_keys import RecentKeys


class Stored:
    """Keys in a list; counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[ApiKey] = []
        self.asked = 0
        self.used: list[str] = []

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        self.asked += 1
        return [key for key in self.keys if key.prefix == prefix]

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        self.used.append(key_id)


def key(prefix: str) -> ApiKey:
    return ApiKey(key_id=prefix, team_id="t", name="", prefix=prefix, mac=b"m", created_ms=1)


async def test_a_key_is_read_once_a_second() -> None:
    stored, now = Stored(), [5_000]
    recent = RecentKeys(stored, monotonic_ms=lambda: now[0])
    stored.keys = [key("mw_a")]
    assert await recent.keys_with_prefix("mw_a") == stored.keys
    now[0] += 999
    assert await recent.keys_with_prefix("mw_a") == stored.keys
    assert stored.asked == 1
    stored.keys = []
    now[0] += 1
    assert await recent.keys_with_prefix("mw_a") == [], "what was revoked is gone within a second"
    assert stored.asked == 2


async def test_a_prefix_nobody_has_is_remembered_like_any_other() -> None:
    stored = Stored()
    recent = RecentKeys(stored, monotonic_ms=lambda: 5_000)
    for _ in range(3):
        assert await recent.keys_with_prefix("mw_nobody") == []
    assert stored.asked == 1


async def test_uses_are_noted() -> None:
    stored = Stored()
    await RecentKeys(stored, monotonic_ms=lambda: 0).note_key_used("k", 7)
    assert stored.used == ["k"]
