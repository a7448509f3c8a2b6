"""Bytes to text: which kind of body it is, and in which encoding.

Order of the encoding (WHATWG HTML, 13.2.3.2 "Determining the character encoding"): byte order mark, the charset of
the Content-Type header, a `meta` declaration in the first 4096 bytes, statistics. Labels resolve by the
WHATWG Encoding standard, so `iso-8859-1` means windows-1252 and a `meta` that claims UTF-16 means UTF-8. Two things
differ from a browser, which has to show a page as its author saw it: a body with bytes beyond ASCII that is well-formed
UTF-8 is UTF-8 whatever its label says, and a label that makes nonsense of the body is not believed.
"""

import re
from typing import Literal

import msgspec
from resiliparse.parse.encoding import detect_encoding
from w3lib.encoding import (
    html_body_declared_encoding,
    http_content_type_encoding,
    read_bom,
    resolve_encoding,
    to_unicode,
)

BodyKind = Literal["html", "text", "binary", "other"]

_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_TEXT_TYPES = frozenset({"text/plain", "text/markdown", "text/x-markdown"})
_UNSURE_TYPES = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown"}
)
_XML_TYPES = frozenset({"text/xml", "application/xml"})

_SNIFFED_BYTES = 4096
_DETECTED_BYTES = 65_536
_MAX_BINARY_SHARE = 0.02
_TOLERATED_BROKEN = 8
_MAX_BROKEN_SHARE = 0.02
_MAX_REPLACED_SHARE_OF_FOREIGN = 0.3

# MIME Sniffing standard, section 6: signatures of types that are never a page.
_SIGNATURES = (
    b"%PDF-", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b\x08", b"Rar!\x1a\x07",
    b"BM\x00", b"RIFF", b"OggS\x00", b"ID3", b"\x00\x00\x01\x00", b"\x00asm", b"\x7fELF", b"MZ\x90", b"wOFF", b"wOF2",
    b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"\x1aE\xdf\xa3",
)  # fmt: skip

# MIME Sniffing standard, section 3: binary data bytes.
_NOT_BINARY = bytes(set(range(256)) - {*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
_MARKUP = re.compile(
    rb"<(?:!doctype|!--|html|head|body|div|p|a|h[1-6]|table|title|script|style|meta|br|span|ul)\b", re.I
)
_HTML_ROOT = re.compile(rb"<html\b", re.I)
# C0 and C1 controls that no text format uses, and surrogates, which no UTF-8 output may carry.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class Decoded(msgspec.Struct, frozen=True):
    """Text of a body, without control characters, and the encoding it was read in (Python's name of it)."""

    text: str
    encoding: str


class Undecodable(msgspec.Struct, frozen=True):
    """No encoding makes this body text."""

    detail: str


def body_kind(body: bytes, content_type: str | None) -> BodyKind:
    """Say what a body is from its Content-Type header and its first bytes.

    A declared HTML body that is binary by its signature or by its control bytes is `binary`; a type that cannot hold a
    readable page (JSON, CSS, images, feeds) is `other`.
    """
    essence = (content_type or "").partition(";")[0].strip().lower()
    head = body[:_SNIFFED_BYTES]
    if essence in _XML_TYPES:
        return "html" if _HTML_ROOT.search(head) else "other"
    if essence not in _HTML_TYPES and essence not in _TEXT_TYPES and essence not in _UNSURE_TYPES:
        return "other"
    if _is_binary(head, content_type):
        return "binary"
    if essence in _TEXT_TYPES:
        return "text"
    if essence in _HTML_TYPES or read_bom(head)[0] in {"utf-16-le", "utf-16-be"} or _MARKUP.search(head):
        return "html"
    return "text"


def _is_binary(head: bytes, content_type: str | None) -> bool:
    if head.startswith(_SIGNATURES):
        return True
    encoding = read_bom(head)[0] or http_content_type_encoding(content_type) or ""
    if encoding.startswith(("utf-16", "utf-32")):
        return False
    return len(head.translate(None, _NOT_BINARY)) > _MAX_BINARY_SHARE * len(head)


def decode(body: bytes, content_type: str | None) -> Decoded | Undecodable:
    """Decode a body that `body_kind` called html or text.

    A declared encoding is believed unless more than 2 % of the characters it yields are control or replacement
    characters, or more than 30 % of those beyond ASCII are replacements; then statistics decide.
    """
    bom_encoding, bom = read_bom(body)
    if bom_encoding is not None and bom is not None:
        return _checked(body[len(bom) :], bom_encoding) or _guessed(body[len(bom) :])
    declared = http_content_type_encoding(content_type)
    if declared in {"utf-16", "utf-32"}:
        declared = f"{declared}-le"
    if declared is None:
        declared = html_body_declared_encoding(body[:_SNIFFED_BYTES])
        if declared is not None and declared.startswith(("utf-16", "utf-32")):
            declared = "utf-8"
    if not body.isascii() and not (declared or "").startswith(("utf-16", "utf-32")):
        try:
            return Decoded(_CONTROLS.sub("", body.decode("utf-8")), "utf-8")
        except UnicodeDecodeError:
            pass
    if declared is not None and (decoded := _checked(body, declared)) is not None:
        return decoded
    return _guessed(body)


def _checked(body: bytes, encoding: str) -> Decoded | None:
    """Decode, or None when the result is not text (or the label names a codec that is not of text)."""
    try:
        text = to_unicode(body, encoding)
    except (LookupError, ValueError, AssertionError):
        return None
    cleaned = _CONTROLS.sub("", text)
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    replaced = text.count("\ufffd")
    broken = replaced + len(text) - len(cleaned)
    if broken > max(_TOLERATED_BROKEN, _MAX_BROKEN_SHARE * len(text)):
        return None
    if replaced > 2 and replaced > _MAX_REPLACED_SHARE_OF_FOREIGN * foreign:
        return None
    return Decoded(cleaned, encoding)


def _guessed(body: bytes) -> Decoded | Undecodable:
    guess = resolve_encoding(detect_encoding(body[:_DETECTED_BYTES]) or "utf-8") or "utf-8"
    for encoding in (guess, "utf-8", "cp1252"):
        if (decoded := _checked(body, encoding)) is not None:
            return decoded
    return Undecodable(f"no text encoding fits; best guess {guess}")
