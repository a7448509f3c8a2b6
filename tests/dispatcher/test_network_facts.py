"""Dispatchers of one network agree, or are told on what they do not."""

import pytest

from dispatcher.errors import SetupError
from dispatcher.network_facts import require_agreement, secret_fingerprint

FACTS = {"root_key": "r", "log_origin": "meadow.test/log", "chain": "genesis", "frontier_shards": "4"}


def test_a_dispatcher_that_agrees_may_start() -> None:
    require_agreement(FACTS, FACTS)
    require_agreement(FACTS, {**FACTS, "known_later": "x"})
    require_agreement(FACTS, {})


def test_every_difference_is_named_with_both_values_and_what_to_do() -> None:
    with pytest.raises(SetupError) as refused:
        require_agreement(FACTS, {**FACTS, "root_key": "another", "frontier_shards": "8"})
    said = str(refused.value)
    assert "root_key is 'r' here and 'another' in the network" in said
    assert "MEADOW_KEYS_DIR" in said
    assert "frontier_shards is '4' here and '8' in the network" in said
    assert "MEADOW_FRONTIER_SHARDS" in said
    assert "log_origin" not in said


def test_a_fingerprint_tells_secrets_apart_and_does_not_show_them() -> None:
    secrets = [bytes([number]) * 32 for number in range(10)]
    assert len({secret_fingerprint(secret) for secret in secrets}) == 10
    assert secret_fingerprint(secrets[1]) == secret_fingerprint(bytes([1]) * 32)
    assert secrets[1].hex()[:8] not in secret_fingerprint(secrets[1])
