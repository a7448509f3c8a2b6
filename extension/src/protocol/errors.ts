/**
 * What can be wrong with bytes on the wire, by whose fault it is. `code` is the error code of PROTOCOL.md, section 7.
 *
 * Refusals of URLs and addresses are values (`UrlRefusal`), not errors.
 */

/** The root of everything this package throws for what a peer sent. */
export class ProtocolError extends Error {
  readonly code: string = "protocol_error";

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Bytes that do not decode to any message of this version, or outside of bounds. */
export class MalformedMessage extends ProtocolError {
  override readonly code = "malformed_message";
}

/** A signed payload whose bytes differ from the canonical encoding of what they say. */
export class NotCanonical extends ProtocolError {
  override readonly code = "not_canonical";
}

/** A signature that does not verify, or a key that is none. */
export class BadSignature extends ProtocolError {
  override readonly code = "bad_signature";
}

/** A statement of another kind than the one expected. */
export class WrongKind extends ProtocolError {
  override readonly code = "wrong_kind";
}

/** A statement or challenge before or after its time. */
export class Expired extends ProtocolError {
  override readonly code = "expired";
}

/** Addressed to somebody else: node, audience, nonce or root. */
export class NotForMe extends ProtocolError {
  override readonly code = "not_for_me";
}

/** A message that the session's state does not admit. */
export class SessionViolation extends ProtocolError {
  override readonly code = "session_violation";
}

/** A peer that speaks another version of this protocol. */
export class UnsupportedVersion extends ProtocolError {
  override readonly code = "unsupported_version";
}

/** A page body that cannot be decoded. */
export class BodyError extends ProtocolError {
  override readonly code: string = "body_error";
}

/** A body above the wire limit, the decoded limit or the permitted ratio of the two. */
export class BodyTooLarge extends BodyError {
  override readonly code = "body_too_large";
}

/** A truncated or damaged body, or one in an encoding that is not accepted. */
export class BodyCorrupt extends BodyError {
  override readonly code = "body_corrupt";
}
