"""Cases of session messages, base64url, UUIDv7 and dataset rows (PROTOCOL.md, sections 2, 5 and 9)."""

from protocol.dataset import RowProvenance, content_hash, row_leaf, with_provenance
from protocol.ids import uuid7
from protocol.keys import to_base64url
from protocol.messages import (
    Accept,
    Ack,
    Availability,
    Balance,
    Cancel,
    Drain,
    Failure,
    FailureCode,
    FromDispatcher,
    FromNode,
    Hop,
    HopVerdict,
    Ping,
    Pong,
    RefusalCode,
    Refuse,
    Reputation,
    ReputationPart,
    SessionError,
    Welcome,
    encode_message,
)
from protocol.session import make_challenge
from protocol.statements import Kind, sign
from tests.vectors.fixed import AUDIENCE, CERTIFICATE, JOB, JOB_ID, NODE, NONCE, NOW_MS, ROW, record

Case = dict[str, object]
LEASE = JOB.lease
FROM_NODE: tuple[FromNode, ...] = (
    Accept(job_id=JOB_ID, lease=LEASE),
    Refuse(job_id=JOB_ID, lease=LEASE, reason=RefusalCode.BLOCKED_BY_OWNER, detail="example.org is blocked"),
    Failure(job_id=JOB_ID, lease=LEASE, reason=FailureCode.DNS_FAILED, detail="the name does not resolve"),
    Hop(job_id=JOB_ID, lease=LEASE, url="https://www.example.org/"),
    Availability(max_concurrent_jobs=0, reason="paused"),
    Ping(time_ms=NOW_MS),
    SessionError(code="malformed_message", detail="not a dispatcher's message"),
)
FROM_DISPATCHER: tuple[FromDispatcher, ...] = (
    make_challenge(nonce=NONCE, audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE),
    Welcome(session_id=uuid7(NOW_MS, bytes(10)), ping_interval_ms=20_000, time_ms=NOW_MS),
    HopVerdict(job_id=JOB_ID, lease=LEASE, url="https://www.example.org/", allowed=True),
    Ack(job_id=JOB_ID, lease=LEASE, outcome="stored", reward=120, log_index=0),
    Cancel(job_id=JOB_ID, lease=LEASE, reason="the lab cancelled the job"),
    Pong(time_ms=NOW_MS),
    Balance(pending=416, confirmed=0, paid=12_288, void=0, time_ms=NOW_MS),
    Reputation(
        score=995,
        parts=(
            ReputationPart(name="answers", value=995, reason="1,204 of 1,210 answers were accepted"),
            ReputationPart(name="time", value=1_000, reason="first seen 90 days ago"),
        ),
        time_ms=NOW_MS,
    ),
    Drain(reconnect_after_ms=2_000),
    SessionError(code="expired", detail="the challenge expired 1 ms ago"),
)


def messages() -> list[Case]:
    """Text frames as `sender` would send them. `pad` adds that many spaces behind the text."""
    cases: list[Case] = []

    def add(name: str, text: str, expect: str = "malformed_message", *, sender: str = "node", pad: int = 0) -> None:
        case: Case = {"name": name, "from": sender, "text": text}
        if pad:
            case["pad"] = pad
        cases.append(case | {"expect": expect})

    for message in FROM_NODE:
        text = encode_message(message)
        add(f"a node's {type(message).__name__}", text, "ok")
        if not isinstance(message, SessionError):
            add(f"a {type(message).__name__} of a dispatcher", text, sender="dispatcher")
    for sent in FROM_DISPATCHER:
        text = encode_message(sent)
        add(f"a dispatcher's {type(sent).__name__}", text, "ok", sender="dispatcher")
        if not isinstance(sent, SessionError):
            add(f"a {type(sent).__name__} of a node", text)
    ping = f'{{"type":"ping","time_ms":{NOW_MS}}}'
    add("an unknown member", ping[:-1] + ',"colour":"green"}', "ok")
    add("an unknown member that is nested", ping[:-1] + ',"more":{"a":[1,2.5,null]}}', "ok")
    add("an unknown member nested 30,000 deep", ping[:-1] + ',"more":' + "[" * 30_000 + "]" * 30_000 + "}")
    add("members in another order", f'{{"time_ms":{NOW_MS},"type":"ping"}}', "ok")
    add("white space", f'\n {{ "type" : "ping" , "time_ms" : {NOW_MS} }}\r\n\t', "ok")
    add("a member of the default value left out", '{"type":"availability","max_concurrent_jobs":1}', "ok")
    add("65,536 bytes", ping, "ok", pad=65_536 - len(ping))
    add("65,537 bytes", ping, pad=65_537 - len(ping))
    long = '{"type":"availability","max_concurrent_jobs":1,"reason":"' + "\u8349" * 21_900 + '"}'
    add("fewer than 65,536 characters in more than 65,536 bytes", long)
    add("an unknown type", '{"type":"nope"}')
    add("no type", f'{{"time_ms":{NOW_MS}}}')
    add("a type that is a number", '{"type":1}')
    add("a member missing", '{"type":"ping"}')
    add("a member that is null", '{"type":"ping","time_ms":null}')
    add("an integer as text", f'{{"type":"ping","time_ms":"{NOW_MS}"}}')
    add("a negative time", '{"type":"ping","time_ms":-1}')
    add("a time of 2^53", f'{{"type":"ping","time_ms":{2**53}}}')
    add("a time of 5,000 digits", '{"type":"ping","time_ms":' + "9" * 5_000 + "}")
    add("a fraction", '{"type":"ping","time_ms":1.5}')
    add("NaN", '{"type":"ping","time_ms":NaN}')
    add("65 jobs at once", '{"type":"availability","max_concurrent_jobs":65}')
    add("half a surrogate pair", '{"type":"availability","max_concurrent_jobs":1,"reason":"\\ud800"}')
    add("an id that is no UUIDv7", f'{{"type":"accept","job_id":"{JOB_ID.replace("-7", "-4")}","lease":1}}')
    add("an id with a path in it", '{"type":"accept","job_id":"../../etc/passwd","lease":1}')
    add("an unknown reason", f'{{"type":"refuse","job_id":"{JOB_ID}","lease":1,"reason":"tired"}}')
    add("a hop of 2,049 characters", f'{{"type":"hop","job_id":"{JOB_ID}","lease":1,"url":"{"a" * 2_049}"}}')
    cases += _welcomes() + _reputations()
    add("no bytes", "")
    add("white space alone", " ")
    add("cut short", ping[:-1])
    add("something behind it", ping + "{}")
    add("an array", "[]")
    add("null", "null")
    add("a byte-order mark", "\ufeff" + ping)
    add("single quotes", ping.replace('"', "'"))
    add("a comment", "/* */" + ping)
    add("a trailing comma", ping[:-1] + ",}")
    return cases


def _welcomes() -> list[Case]:
    """Welcomes with and without the node's address: which text it is, is the node's matter, not the decoder's."""
    welcome = encode_message(Welcome(session_id=uuid7(NOW_MS, bytes(10)), ping_interval_ms=20_000, time_ms=NOW_MS))
    without = welcome.replace(',"your_address":null', "")
    addresses = (
        ("without an address", without, "ok"),
        ("of an IPv4 address", welcome.replace("null", '"93.184.216.34"'), "ok"),
        ("of an IPv6 address", welcome.replace("null", '"2606:2800:220:1::1"'), "ok"),
        ("of what is no address", welcome.replace("null", '"here"'), "ok"),
        ("whose address is a number", welcome.replace("null", "1572395042"), "malformed_message"),
        ("whose address is a list", welcome.replace("null", '["93.184.216.34"]'), "malformed_message"),
    )
    return [
        {"name": f"a welcome {name}", "from": "dispatcher", "text": text, "expect": e} for name, text, e in addresses
    ]


def _reputations() -> list[Case]:
    """Reputations at and beyond their bounds."""
    part = '{"name":"answers","value":500,"reason":"3 of 3 answers were accepted"}'

    def text(score: str = "500", parts: str = part) -> str:
        return f'{{"type":"reputation","score":{score},"parts":[{parts}],"time_ms":{NOW_MS}}}'

    texts = (
        ("of no parts", text(parts=""), "ok"),
        ("without its parts", f'{{"type":"reputation","score":500,"time_ms":{NOW_MS}}}', "ok"),
        ("of 8 parts", text(parts=",".join([part] * 8)), "ok"),
        ("of 9 parts", text(parts=",".join([part] * 9)), "malformed_message"),
        ("of 0", text("0"), "ok"),
        ("of 1,000", text("1000"), "ok"),
        ("of 1,001", text("1001"), "malformed_message"),
        ("below 0", text("-1"), "malformed_message"),
        ("of a fraction", text("500.5"), "malformed_message"),
        ("that is null", text("null"), "malformed_message"),
        ("whose part has an unknown member", text(parts=part[:-1] + ',"weight":2}'), "ok"),
        ("whose part has another name", text(parts=part.replace("answers", "manners")), "ok"),
        ("whose part is worth 1,001", text(parts=part.replace("500", "1001")), "malformed_message"),
        ("whose part has no reason", text(parts='{"name":"answers","value":500}'), "malformed_message"),
        ("whose part is a text", text(parts='"answers"'), "malformed_message"),
        ("whose part is a list", text(parts='["answers",500,"3 of 3"]'), "malformed_message"),
        ("whose parts are an object", text().replace("[", "").replace("]", ""), "malformed_message"),
        ("whose part holds half a surrogate pair", text(parts=part.replace("3 of 3", "\\ud800")), "malformed_message"),
    )
    return [{"name": f"a reputation {name}", "from": "dispatcher", "text": t, "expect": e} for name, t, e in texts]


def base64url() -> list[Case]:
    """Texts and the bytes they spell."""
    good = (b"", b"\0", b"\xff", b"\xfb\xff", b"\xff\xff\xff", bytes(range(32)), b"meadow")
    cases: list[Case] = [{"text": to_base64url(data), "expect": "ok", "hex": data.hex()} for data in good]
    refused = (
        "A", "AA=", "AA==", "_w==", "AB", "AAB", "+w", "/w", "-\n", " AA", "AA ", "A A", "A\u0410", "AA.", "AAAAA", "=", "\ud800",
    )  # fmt: skip
    return cases + [{"text": text, "expect": "malformed_message"} for text in refused]


def uuids() -> list[Case]:
    """UUIDv7s: made of a time and 10 random bytes, and texts that are none."""
    made = ((0, bytes(10)), (2**48 - 1, b"\xff" * 10), (NOW_MS, bytes(range(10))), (0x017F22E279B0, _RFC_RANDOM))
    cases: list[Case] = [
        {"time_ms": time_ms, "random_hex": random.hex(), "expect": "ok", "text": uuid7(time_ms, random)}
        for time_ms, random in made
    ]
    none = (
        "", "017f22e2-79b0-7cc3-98c4-dc0c0c07398", "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-18c4-dc0c0c07398f", "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f", "017f22e279b07cc398c4dc0c0c07398f",
        "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
        "urn:uuid:017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "\uff1017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    )  # fmt: skip
    return cases + [{"text": text, "expect": "malformed_message"} for text in none]


_RFC_RANDOM = bytes.fromhex("0cc318c4dc0c0c07398f")
"""RFC 9562, appendix A.6: version and variant bits are overwritten."""


def rows() -> list[Case]:
    """Dataset rows: canonical content and its hash, the whole row as its leaf."""
    link = RowProvenance(
        content_hash=content_hash(ROW),
        record=to_base64url(sign(Kind.RECORD, record(), NODE).to_bytes()),
        log_origin="example.org/log",
        log_index=7,
        integrity="direct",
    )
    leaf = row_leaf(with_provenance(ROW, link)).decode()
    content = leaf[: leaf.index(',"provenance":')] + "}"
    changed = leaf.replace("草地", "草原")
    upper = leaf.replace(link.content_hash, link.content_hash.upper())
    return [
        {"name": "a row", "leaf": leaf, "content": content, "expect": "ok"},
        {"name": "a row whose text was changed", "leaf": changed, "expect": "hash_mismatch"},
        {"name": "a row without its hash", "leaf": content, "expect": "malformed_message"},
        {"name": "a hash in capitals", "leaf": upper, "expect": "malformed_message"},
        {"name": "a space more", "leaf": leaf.replace('"url":', '"url": ', 1), "expect": "not_canonical"},
        {"name": "an unknown column", "leaf": leaf[:-1] + ',"x":1}', "expect": "malformed_message"},
    ]
