"""Base58 agrees with solders and round-trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from protocol import base58


@given(st.binary(max_size=80))
def test_round_trip(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data


@given(st.binary(min_size=32, max_size=32))
def test_agrees_with_solders(data: bytes) -> None:
    assert base58.encode(data) == str(Pubkey(data))


@pytest.mark.parametrize("text", ["0", "O", "I", "l", " 1", "é", "1" * 2_049])
def test_refuses_what_is_not_base58(text: str) -> None:
    with pytest.raises(ValueError, match="base58"):
        base58.decode(text)
