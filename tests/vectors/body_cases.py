"""Cases of encoded bodies (PROTOCOL.md, section 4.3). Compressed samples are constants: encoders differ by version."""

import hashlib
import zlib
from base64 import b64decode, b64encode

Case = dict[str, object]

PAGE = ("<!doctype html><title>L\u00e4nge</title><p>" + "Wiese, meadow, \u8349\u5730. " * 12 + "</p>").encode()
GZIP = (
    "H4sIAAAAAAACA7NRTMlPLqksSFXIKMnNsbMpySzJSbXzObwkLz3VRh/CsymwC89MLU7VUchNTUzJL9dReNHb+XTOBj2FES1so19gBwD9BnaM"
    "PwEAAA=="
)
ZLIB = (
    "eNqzUUzJTy6pLEhVyCjJzbGzKcksyUm18zm8JC891UYfwrMpsAvPTC1O1VHITU1MyS/XUXjR2/l0zgY9hREtbKNfYAcArN2CdA=="
)  # fmt: skip
DEFLATE = "s1FMyU8uqSxIVcgoyc2xsynJLMlJtfM5vCQvPdVGH8KzKbALz0wtTtVRyE1NTMkv11F40dv5dM4GPYURLWyjX2AHAA=="
BROTLI = (
    "Gz4BMKwObLdpiOC2v+6m3qQgAt1YLOexCw6bCgY7kZO0XDXCVht6gjBdpU/aMEzkgL0tlpBu5G8KD6AxRW10XQzBf1vHIYicl9gmlAI="
)  # fmt: skip
ZSTD = "KLUv/WA/AD0CAMQDPCFkb2N0eXBlIGh0bWw+PHRpdGxlPkzDpG5nZTwvPHA+V2llc2UsIG1lYWRvdywg6I2J5ZywLiA8L3A+AgDqddJhDDMP"
_BROTLI_4_MIB = "m///P/gnAOKxQCD3/gc="
GZIP_4_MIB_HEAD = "1f8b0800000000000203edc101010000008220ffaf6e484001"
GZIP_4_MIB_TAIL = "00000000000000000000000000007c1b6a40471100004000"
SKIPPABLE = "502a4d1804000000" + "6d656164"
WIDE_WINDOW = "28b52ffd007051000078787878787878787878"


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def _stored_gzip(data: bytes) -> bytes:
    block = b"\x01" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data
    trailer = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return bytes.fromhex("1f8b08000000000000ff") + block + trailer


def _raw_zstd(data: bytes) -> bytes:
    """One frame (RFC 8878, 3.1.1): single segment of at most 255 bytes, in one raw block."""
    return bytes.fromhex("28b52ffd20") + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def _zstd_run(blocks: int) -> Case:
    """A frame of a 128 KiB window and run-length blocks of 128 KiB each."""
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b"x"
    last = (131_072 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x"
    return _recipe(bytes.fromhex("28b52ffd00") + b"\x38", block, blocks - 1, last)


def _fixed_huffman_gzip(repeats: int) -> Case:
    """A gzip of zeros in one fixed-Huffman block: 13 bytes stand for 2,064 (RFC 1951, 3.2.6)."""
    count = 1 + repeats * 2_064
    run = "11000101" + "00000"
    bits = "110" + "00110000" + run * 8 * 2 + "0000000"
    packed = _packed(bits)
    tail = zlib.crc32(bytes(count)).to_bytes(4, "little") + count.to_bytes(4, "little")
    head = bytes.fromhex("1f8b08000000000000ff") + packed[:2]
    return _recipe(head, packed[2:15], repeats - 1, packed[15:] + tail)


def _packed(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8))


def _recipe(head: bytes, repeated: bytes, times: int, tail: bytes) -> Case:
    return {"head": _encoded(head), "repeat": _encoded(repeated), "times": times, "tail": _encoded(tail)}


def bodies() -> list[Case]:
    """Payloads, in base64 or as a recipe: head, then `repeat` as often as `times` says, then tail."""
    cases: list[Case] = []

    def good(name: str, encoding: str, payload: bytes, body: bytes = PAGE) -> None:
        digest = hashlib.sha256(body).hexdigest()
        case: Case = {"name": name, "encoding": encoding, "payload": _encoded(payload), "body_bytes": len(body)}
        cases.append(case | {"expect": "ok", "sha256": digest})

    def bad(name: str, encoding: str, payload: bytes | Case, expect: str = "body_corrupt") -> None:
        kept: Case = {"recipe": payload} if isinstance(payload, dict) else {"payload": _encoded(payload)}
        cases.append({"name": name, "encoding": encoding} | kept | {"expect": expect})

    def run(name: str, encoding: str, recipe: Case, body: bytes) -> None:
        digest = hashlib.sha256(body).hexdigest()
        case: Case = {"name": name, "encoding": encoding, "recipe": recipe, "body_bytes": len(body)}
        cases.append(case | {"expect": "ok", "sha256": digest})

    samples = (("gzip", GZIP), ("deflate", ZLIB), ("deflate", DEFLATE), ("br", BROTLI), ("zstd", ZSTD))
    good("as it is", "identity", PAGE)
    for encoding in ("identity", "gzip", "deflate", "br", "zstd"):
        good(f"no bytes at all, said to be {encoding}", encoding, b"", b"")
    for encoding, sample in samples:
        payload = b64decode(sample)
        shape = "bare " if sample == DEFLATE else ""
        good(f"{shape}{encoding}", encoding, payload)
        bad(f"{shape}{encoding}, the last byte missing", encoding, payload[:-1])
        bad(f"{shape}{encoding}, half of it", encoding, payload[: len(payload) // 2])
        bad(f"{shape}{encoding}, its first byte alone", encoding, payload[:1])
        bad(f"{shape}{encoding}, a byte behind it", encoding, payload + b"\0")
        bad(f"plain text said to be {shape}{encoding}", encoding, PAGE)
    gzip, zstd = b64decode(GZIP), b64decode(ZSTD)
    bad("gzip, a wrong CRC", "gzip", gzip[:-8] + bytes([gzip[-8] ^ 1]) + gzip[-7:])
    bad("gzip, a wrong length", "gzip", gzip[:-1] + b"\x01")
    bad("zlib, a wrong Adler-32", "deflate", b64decode(ZLIB)[:-1] + b"\0")
    good("gzip of two members", "gzip", gzip + gzip, PAGE + PAGE)
    good("gzip of 64 members", "gzip", _stored_gzip(b"a") * 64, b"a" * 64)
    bad("gzip of 65 members", "gzip", _stored_gzip(b"a") * 65)
    bad("gzip, its second member cut short", "gzip", gzip + gzip[:-1])
    good("zstd of two frames", "zstd", zstd + zstd, PAGE + PAGE)
    good("zstd after a skippable frame", "zstd", bytes.fromhex(SKIPPABLE) + zstd)
    good("zstd of 64 frames", "zstd", _raw_zstd(b"a") * 64, b"a" * 64)
    bad("zstd of 65 frames", "zstd", _raw_zstd(b"a") * 65)
    bad("zstd of a window of 16 MiB", "zstd", bytes.fromhex(WIDE_WINDOW))
    bad("zstd that names a dictionary", "zstd", bytes.fromhex("28b52ffd210109010000") + b"a")
    bad("two layers of gzip, decoded as deflate", "deflate", gzip)
    run("gzip of 158-fold", "gzip", _fixed_huffman_gzip(1_000), bytes(1 + 2_064 * 1_000))
    run("zstd of 8 blocks, below the ratio's floor", "zstd", _zstd_run(8), b"x" * 1_048_576)
    bad("gzip of 1,023-fold", "gzip", _gzip_bomb(), "body_too_large")
    bad("br of 300,000-fold", "br", b64decode(_BROTLI_4_MIB), "body_too_large")
    bad("zstd of 30,000-fold", "zstd", _zstd_run(32), "body_too_large")
    bad("gzip of 21 MB", "gzip", _fixed_huffman_gzip(10_200), "body_too_large")
    bad("zstd of 640 MiB in 20 kB", "zstd", _zstd_run(5_120), "body_too_large")
    bad("5 MiB and a byte", "identity", _recipe(b"x", b"x", 5_242_880, b""), "body_too_large")
    run("5 MiB", "identity", _recipe(b"", b"x", 5_242_880, b""), b"x" * 5_242_880)
    return cases


def _gzip_bomb() -> Case:
    return _recipe(bytes.fromhex(GZIP_4_MIB_HEAD), b"\0", 4_098 - 49, bytes.fromhex(GZIP_4_MIB_TAIL))


def encodings() -> list[Case]:
    """Values of Content-Encoding (null: no such header)."""
    rows: tuple[tuple[str | None, str], ...] = (
        (None, "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        (" gzip ", "gzip"),
        ("x-gzip", "gzip"),
        ("identity, gzip", "gzip"),
        ("gzip,", "gzip"),
        ("deflate", "deflate"),
        ("br", "br"),
        ("zstd", "zstd"),
    )
    cases: list[Case] = [{"value": value, "expect": "ok", "encoding": encoding} for value, encoding in rows]
    refused = ("gzip, gzip", "gzip, br", "compress", "x-compress", "utf-8", "gzip;q=1", "dcb", "aws-chunked", "none")
    return cases + [{"value": value, "expect": "body_corrupt"} for value in refused]
