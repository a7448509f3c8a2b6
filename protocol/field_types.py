"""The types of fields that several structs share (PROTOCOL.md, section 2.3).

Every bound here is checked when bytes are decoded, and stands in the exported JSON Schema. Each pattern ends in a
look-ahead for the end of the text, which Python and ECMAScript read alike; `$` alone admits a final line feed in one
of them.
"""

from typing import Annotated

import msgspec

from protocol import limits

Uint = Annotated[int, msgspec.Meta(ge=0, le=limits.SAFE_INTEGER)]
"""An integer that every JSON implementation reads exactly (RFC 8259, section 6)."""

Uuid7Text = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![\s\S])", max_length=36
    ),
]
"""A UUIDv7 in lower-case hyphenated form."""

PublicKeyText = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}(?![\s\S])", max_length=43)]
"""An Ed25519 public key, 32 bytes in unpadded base64url."""

Sha256Text = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])", max_length=64)]
"""A SHA-256 in lower-case hexadecimal."""

WalletText = Annotated[
    str, msgspec.Meta(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}(?![\s\S])", min_length=32, max_length=44)
]
"""A Solana address: 32 bytes in base58. The alphabet and length are checked; that it is 32 bytes is the payer's."""

CountryText = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}(?![\s\S])", max_length=2)]
"""A country, ISO 3166-1 alpha-2."""

HeaderText = Annotated[
    str,
    msgspec.Meta(pattern=r"^[\t\x20-\x7e\x80-\xff]*(?![\s\S])", max_length=limits.HEADER_VALUE_BYTES),
]
"""An HTTP field value (RFC 9110, section 5.5), Latin-1 decoded: no control character but the tab."""

AgentText = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]*(?![\s\S])", max_length=limits.AGENT_BYTES)]
"""The name and version of a node's software: printable ASCII."""

UrlText = Annotated[str, msgspec.Meta(max_length=limits.URL_BYTES)]
"""A URL that its sender has normalised: ASCII, hence as many characters as bytes."""

JobCount = Annotated[int, msgspec.Meta(ge=0, le=limits.NODE_CONCURRENT_JOBS)]
"""How many jobs a node holds at once."""

ReputationScore = Annotated[int, msgspec.Meta(ge=0, le=limits.REPUTATION_MOST)]
"""A reputation or one of its parts: 0 is the worst, 1,000 the best."""
