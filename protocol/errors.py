"""What can be wrong with bytes on the wire, by whose fault it is.

    ProtocolError                     the root
    ├── MalformedMessage              the peer sent bytes that do not decode to any message of this version
    ├── NotCanonical                  a signed payload that is not in canonical form (PROTOCOL.md, section 2)
    ├── BadSignature                  an Ed25519 signature that does not verify, or a key that is not a key
    ├── WrongKind                     a signed statement of another kind than the one expected
    ├── Expired                       a statement outside its time of validity
    ├── NotForMe                      a job leased to another node, or a hello meant for another dispatcher
    ├── SessionViolation              a message that the session's state does not admit
    ├── UnsupportedVersion            a peer that speaks another protocol version
    └── BodyError                     a page body that cannot be decoded
        ├── BodyTooLarge              above the wire or decoded limit, or above the permitted ratio
        └── BodyCorrupt               truncated, damaged, or in an encoding that is not accepted

Refusals of URLs and addresses are values (`protocol.urls.Refusal`), not exceptions.
"""


class ProtocolError(Exception):
    """The root of everything this package raises. `code` is the error code of PROTOCOL.md, section 7."""

    code = "protocol_error"


class MalformedMessage(ProtocolError):
    """Bytes that do not decode to any message of this version."""

    code = "malformed_message"


class NotCanonical(ProtocolError):
    """A signed payload whose bytes differ from the canonical encoding of what they say."""

    code = "not_canonical"


class BadSignature(ProtocolError):
    """An Ed25519 signature that does not verify, or a key that is not one."""

    code = "bad_signature"


class WrongKind(ProtocolError):
    """A signed statement of another kind than the one expected."""

    code = "wrong_kind"


class Expired(ProtocolError):
    """A statement before or after its time of validity."""

    code = "expired"


class NotForMe(ProtocolError):
    """A statement addressed to somebody else."""

    code = "not_for_me"


class SessionViolation(ProtocolError):
    """A message that the session's state does not admit."""

    code = "session_violation"


class UnsupportedVersion(ProtocolError):
    """A peer that speaks another version of this protocol."""

    code = "unsupported_version"


class BodyError(ProtocolError):
    """A page body that cannot be decoded."""

    code = "body_error"


class BodyTooLarge(BodyError):
    """A body above the wire limit, the decoded limit or the permitted ratio of the two."""

    code = "body_too_large"


class BodyCorrupt(BodyError):
    """A truncated or damaged body, or one in an encoding that is not accepted."""

    code = "body_corrupt"
