"""Cases of signed statements: envelopes, certificates, jobs, records and the handshake (PROTOCOL.md, 2 to 4, 6)."""

from protocol.job import Certificate, Job, issue_certificate
from protocol.keys import SigningKey, to_base64url
from protocol.messages import Challenge, Hello, encode_message
from protocol.record import Header, Record
from protocol.session import answer_challenge, make_challenge
from protocol.statements import Kind, Statement, encode_canonical, sign, signed_bytes
from tests.vectors.fixed import (
    AUDIENCE,
    BATCH_ID,
    BODY,
    CERTIFICATE,
    HELLO,
    HOUR_MS,
    JOB,
    JOB_KEY,
    JOB_STATEMENT,
    NODE,
    NONCE,
    NOW_MS,
    OTHER,
    ROOT,
    dataset_statement,
    record,
    sign_bytes,
)

Case = dict[str, object]
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_P = 2**255 - 19


def _replaced(value: Job | Certificate | Hello | Record, **changed: object) -> bytes:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return encode_canonical(type(value)(**(fields | changed)))


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def statements() -> list[Case]:
    """Frames, each opened as a statement of `kind` signed by `public`."""
    job, payload = JOB_STATEMENT.to_bytes(), JOB_STATEMENT.payload
    text = payload.decode()
    cases: list[Case] = []

    def add(
        name: str,
        frame: bytes,
        expect: str,
        *,
        kind: Kind = Kind.JOB,
        public: str = JOB_KEY.public,
        attached: bytes = b"",
    ) -> None:
        case: Case = {"name": name, "frame_hex": frame.hex(), "kind": kind.name.lower(), "public": public}
        if expect == "ok":
            signed = frame[: len(frame) - len(attached)]
            case |= {"payload": signed[69:].decode(), "attachment_hex": attached.hex()}
        cases.append(case | {"expect": expect})

    def payload_case(name: str, changed: str | bytes, expect: str) -> None:
        data = changed.encode() if isinstance(changed, str) else changed
        add(name, sign_bytes(Kind.JOB, data, JOB_KEY).to_bytes(), expect)

    add("a job", job, "ok")
    add("a certificate", CERTIFICATE.to_bytes(), "ok", kind=Kind.CERTIFICATE, public=ROOT.public)
    add("a hello", sign(Kind.HELLO, HELLO, NODE).to_bytes(), "ok", kind=Kind.HELLO, public=NODE.public)
    add("a dataset", sign(Kind.DATASET, dataset_statement(), JOB_KEY).to_bytes(), "ok", kind=Kind.DATASET)
    signed = sign(Kind.RECORD, record(), NODE).to_bytes()
    add("a record", signed, "ok", kind=Kind.RECORD, public=NODE.public)
    add("a record and its body", signed + BODY, "ok", kind=Kind.RECORD, public=NODE.public, attached=BODY)
    for bit in (0, 255, 256, 511):
        add(f"signature bit {bit} flipped", job[:5] + _flipped(job[5:69], bit) + job[69:], "bad_signature")
    add("a payload byte changed", job.replace(b"id=7", b"id=8"), "bad_signature")
    add("another key", job, "bad_signature", public=OTHER.public)
    add("a key of 31 bytes", job, "bad_signature", public=to_base64url(JOB_KEY.public_bytes[:31]))
    add("a key that is not base64url", job, "malformed_message", public=JOB_KEY.public[:-1] + "=")
    add("a signature over the payload alone", _with_signature(JOB_KEY.sign(payload), payload), "bad_signature")
    as_record = JOB_KEY.sign(signed_bytes(Kind.RECORD, payload))
    add("a signature made for another kind", _with_signature(as_record, payload), "bad_signature")
    raised = int.from_bytes(job[37:69], "little") + _GROUP_ORDER
    malleable = job[5:37] + raised.to_bytes(32, "little")
    add("S raised by the group order", _with_signature(malleable, payload), "bad_signature")
    neutral = (1).to_bytes(32, "little")
    forged = _with_signature(neutral + bytes(32), payload)
    for name, point in (
        ("the neutral point", neutral),
        ("the point of order 2", (_P - 1).to_bytes(32, "little")),
        ("a point of order 4", bytes(32)),
        ("a second spelling of the neutral point", (_P + 1).to_bytes(32, "little")),
        ("the neutral point with its sign bit set", neutral[:31] + b"\x80"),
    ):
        add(f"a signature that anyone can make: key is {name}", forged, "bad_signature", public=to_base64url(point))
    add("R is the neutral point", _with_signature(neutral + job[37:69], payload), "bad_signature")
    add("a key that is on no point", job, "bad_signature", public=to_base64url(bytes([2]) + bytes(31)))
    add("another kind than expected", job, "wrong_kind", kind=Kind.RECORD)
    add("kind 0", b"\0" + job[1:], "wrong_kind")
    add("kind 6", b"\x06" + job[1:], "wrong_kind")
    add("no bytes", b"", "malformed_message")
    add("68 bytes", job[:68], "malformed_message")
    add("the header alone", job[:69], "malformed_message")
    add("the last byte missing", job[:-1], "malformed_message")
    add("a length of 60,001", job[:1] + (60_001).to_bytes(4, "big") + job[5:], "malformed_message")
    add("a length of 2^32 - 1", job[:1] + b"\xff" * 4 + job[5:], "malformed_message")
    add("a job with bytes behind it", job + b"\0", "malformed_message")
    payload_case("an empty payload", "", "malformed_message")
    payload_case("not JSON", "meadow", "malformed_message")
    payload_case("not UTF-8", payload.replace(b"search", b"s\xffarch"), "malformed_message")
    payload_case("a byte-order mark", b"\xef\xbb\xbf" + payload, "malformed_message")
    payload_case("an array", "[]", "malformed_message")
    payload_case("an array nested 20,000 deep", "[" * 20_000 + "]" * 20_000, "malformed_message")
    payload_case("an unknown member", text[:-1] + ',"more":1}', "malformed_message")
    payload_case("a member missing", text.replace('"purpose":"search",', ""), "malformed_message")
    payload_case("version 2", text.replace('"v":1', '"v":2'), "malformed_message")
    payload_case("NaN", text.replace('"max_redirects":5', '"max_redirects":NaN'), "malformed_message")
    payload_case("a fraction", text.replace('"max_redirects":5', '"max_redirects":5.5'), "malformed_message")
    payload_case(
        "an integer written as a fraction", text.replace('redirects":5', 'redirects":5.0'), "malformed_message"
    )
    payload_case("an exponent", text.replace('redirects":5', 'redirects":5e0'), "malformed_message")
    payload_case("a negative integer", text.replace('redirects":5', 'redirects":-5'), "malformed_message")
    payload_case("2^53", text.replace('redirects":5', f'redirects":{2**53}'), "malformed_message")
    payload_case(
        "an integer of 400 digits", text.replace('redirects":5', 'redirects":' + "9" * 400), "malformed_message"
    )
    payload_case("an id in capitals", text.replace(JOB.job_id, JOB.job_id.upper()), "malformed_message")
    payload_case("a line feed after an id", text.replace(JOB.job_id, JOB.job_id + "\\n"), "malformed_message")
    payload_case("half a surrogate pair", text.replace("de, en", "de\\ud800"), "malformed_message")
    payload_case("2^53 - 1", text.replace('redirects":5', f'redirects":{2**53 - 1}'), "ok")
    payload_case("a space after a colon", text.replace('"v":1', '"v": 1'), "not_canonical")
    payload_case("a line feed at the end", text + "\n", "not_canonical")
    payload_case(
        "members in another order",
        '{"lease":1,"v":1,' + text.split('"v":1,')[1].replace(f'"lease":{JOB.lease},', ""),
        "not_canonical",
    )
    payload_case("a member twice, alike", text.replace('"v":1,', '"v":1,"v":1,'), "not_canonical")
    payload_case("a member twice, unlike", text.replace('"lease":', '"lease":1,"lease":'), "not_canonical")
    payload_case("a member of the default value left out", text.replace('"method":"GET",', ""), "not_canonical")
    payload_case("an escape that is not needed", text.replace("search", "s\\u0065arch"), "not_canonical")
    payload_case("an escaped slash", text.replace("https://", "https:\\/\\/"), "not_canonical")
    payload_case("a non-ASCII character escaped", text.replace("id=7", "id=\\u00fc"), "not_canonical")
    payload_case("minus zero", text.replace('redirects":5', 'redirects":-0'), "not_canonical")
    payload_case("a control escaped in capitals", text.replace("de, en", "de\\u001F"), "not_canonical")
    payload_case("a tab as \\u0009", text.replace("de, en", "de\\u0009"), "not_canonical")
    return cases


def _with_signature(signature: bytes, payload: bytes) -> bytes:
    return Statement(Kind.JOB, signature, payload).to_bytes()


def certificates() -> list[Case]:
    """Certificates, each opened at `now_ms` by a node that trusts `root_key` (null: whichever root)."""
    good, sure = CERTIFICATE, ROOT.public
    forged = sign(Kind.CERTIFICATE, _certificate(ROOT.public), OTHER)
    rows: list[tuple[str, Statement, int, str | None, str]] = [
        ("in its time, trusted root", good, NOW_MS, sure, "ok"),
        ("in its time, any root", good, NOW_MS, None, "ok"),
        ("the clock 60 s behind its beginning", good, NOW_MS - HOUR_MS - 60_000, sure, "ok"),
        ("not yet, beyond the skew", good, NOW_MS - HOUR_MS - 60_001, sure, "expired"),
        ("its last millisecond", good, NOW_MS + HOUR_MS - 1, sure, "ok"),
        ("expired", good, NOW_MS + HOUR_MS, sure, "expired"),
        ("another root", good, NOW_MS, OTHER.public, "not_for_me"),
        ("signed by another key than it names", forged, NOW_MS, sure, "bad_signature"),
        ("a job instead", JOB_STATEMENT, NOW_MS, sure, "wrong_kind"),
    ]
    return [
        {"name": name, "statement_hex": one.to_bytes().hex(), "now_ms": now, "root_key": root, "expect": expect}
        for name, one, now, root, expect in rows
    ]


def _certificate(root: str) -> Certificate:
    return Certificate(
        root_key=root, job_key=JOB_KEY.public, serial=1, not_before_ms=NOW_MS - HOUR_MS, not_after_ms=NOW_MS + HOUR_MS
    )


def jobs() -> list[Case]:
    """Jobs, each opened at `now_ms` by the node `node_key` under `certificate_hex`."""
    by_other = sign(Kind.JOB, JOB, OTHER)
    rows: list[tuple[str, Statement, int, SigningKey, str]] = [
        ("for this node, in time", JOB_STATEMENT, NOW_MS, NODE, "ok"),
        ("the clock 60 s behind", JOB_STATEMENT, NOW_MS - 60_000, NODE, "ok"),
        ("from the future, beyond the skew", JOB_STATEMENT, NOW_MS - 60_001, NODE, "expired"),
        ("its last millisecond", JOB_STATEMENT, NOW_MS + 119_999, NODE, "ok"),
        ("expired", JOB_STATEMENT, NOW_MS + 120_000, NODE, "expired"),
        ("for another node", JOB_STATEMENT, NOW_MS, OTHER, "not_for_me"),
        ("signed by an uncertified key", by_other, NOW_MS, NODE, "bad_signature"),
        ("signed by the root", sign(Kind.JOB, JOB, ROOT), NOW_MS, NODE, "bad_signature"),
        ("a certificate instead", CERTIFICATE, NOW_MS, NODE, "wrong_kind"),
        ("another method", sign_bytes(Kind.JOB, JOB_STATEMENT.payload.replace(b'"GET"', b'"POST"'), JOB_KEY), NOW_MS, NODE, "malformed_message"),
        ("another purpose", sign_bytes(Kind.JOB, JOB_STATEMENT.payload.replace(b'"search"', b'"spam"'), JOB_KEY), NOW_MS, NODE, "malformed_message"),
    ]  # fmt: skip
    return [
        {
            "name": name,
            "statement_hex": job.to_bytes().hex(),
            "certificate_hex": CERTIFICATE.to_bytes().hex(),
            "node_key": node.public,
            "now_ms": now,
            "expect": expect,
        }
        for name, job, now, node, expect in rows
    ]


def records() -> list[Case]:
    """Records, each opened, and then asked whether it answers the job `job_hex`."""
    cases: list[Case] = []

    def add(name: str, statement: Statement, opens: str, answers: str | None) -> None:
        case: Case = {
            "name": name,
            "statement_hex": statement.to_bytes().hex(),
            "job_hex": JOB_STATEMENT.to_bytes().hex(),
        }
        if answers is not None:
            case["expect_answers"] = answers
        cases.append(case | {"expect": opens})

    def of(**changed: object) -> Statement:
        return sign(Kind.RECORD, record(**changed), NODE)

    add("the job's", of(), "ok", "ok")
    add("with a hop", of(hops=("https://example.org/b",)), "ok", "ok")
    add("of status 999", of(status=999), "ok", "ok")
    for field, value in (
        ("job_id", BATCH_ID),
        ("lease", JOB.lease - 1),
        ("job_hash", "00" * 32),
        ("url", "https://example.org/"),
        ("purpose", "train-ai"),
        ("mode", "relayed"),
    ):
        add(f"another {field}", of(**{field: value}), "ok", "not_for_me")
    add("of another node", sign(Kind.RECORD, record(node_key=OTHER.public), OTHER), "ok", "not_for_me")
    add("signed by another key than it names", sign(Kind.RECORD, record(), OTHER), "bad_signature", None)
    for name, changed in (
        ("six hops", {"hops": ("https://example.org/b",) * 6}),
        ("a final URL of 2,049 characters", {"final_url": "https://example.org/" + "a" * 2_029}),
        ("status 99", {"status": 99}),
        ("status 1000", {"status": 1_000}),
        ("a header that is not recorded", {"headers": (Header("server", "x"),)}),  # type: ignore[arg-type]  # on purpose
        ("a line feed in a header", {"headers": (Header("etag", "a\nb"),)}),
        ("a line feed at a header's end", {"headers": (Header("etag", "a\n"),)}),
        ("a NUL in the content type", {"content_type": "text/html\0"}),
        ("a header beyond Latin-1", {"headers": (Header("etag", "\u0100"),)}),
        ("a header of 1,025 characters", {"headers": (Header("etag", "a" * 1_025),)}),
        ("ten headers", {"headers": (Header("etag", "a"),) * 10}),
        ("a hash in capitals", {"body_hash": "AB" * 32}),
        ("a hash too short", {"body_hash": "ab" * 31}),
        ("an unknown encoding", {"content_encoding": "compress"}),
        ("a wallet that is not base58", {"wallet": "0" * 40}),
        ("nine pieces of evidence", {"evidence": ("x",) * 9}),
        ("a node key of 42 characters", {"node_key": NODE.public[:-1]}),
    ):
        add(name, of(**changed), "malformed_message", None)
    return cases


def handshake() -> list[Case]:
    """Challenges opened by a node, and hellos opened by the dispatcher that sent `challenge`."""
    challenge = make_challenge(nonce=NONCE, audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE)
    hello = answer_challenge(challenge, HELLO, NODE)
    cases: list[Case] = []

    def changed(**fields: object) -> Challenge:
        return Challenge(**({name: getattr(challenge, name) for name in challenge.__struct_fields__} | fields))

    def challenged(name: str, sent: Challenge, expect: str, *, audience: str = AUDIENCE, now_ms: int = NOW_MS) -> None:
        case: Case = {"name": name, "challenge": encode_message(sent), "audience": audience, "root_key": ROOT.public}
        cases.append(case | {"now_ms": now_ms, "expect": expect})

    def answered(
        name: str, statement: Statement, expect: str, *, to: Challenge = challenge, now_ms: int = NOW_MS
    ) -> None:
        case: Case = {"name": name, "challenge": encode_message(to), "hello_hex": statement.to_bytes().hex()}
        cases.append(case | {"now_ms": now_ms, "expect": expect})

    other_root = issue_certificate(OTHER, OTHER.public, serial=1, not_before_ms=NOW_MS, not_after_ms=NOW_MS + HOUR_MS)
    challenged("a challenge", challenge, "ok")
    challenged("a challenge of version 2", changed(v=2), "unsupported_version")
    challenged("another scheme dialled", challenge, "not_for_me", audience="ws://gateway.example.org")
    challenged("another host dialled", challenge, "not_for_me", audience="wss://gateway.example.com")
    challenged("another port dialled", challenge, "not_for_me", audience="wss://gateway.example.org:8443")
    challenged("a nonce of 31 bytes", changed(nonce=to_base64url(NONCE[:31])), "not_for_me")
    challenged("a nonce that is not base64url", changed(nonce="+" + challenge.nonce[1:]), "malformed_message")
    challenged("a certificate cut short", changed(certificate=challenge.certificate[:-4]), "malformed_message")
    challenged("another root", changed(certificate=to_base64url(other_root.to_bytes())), "not_for_me")
    challenged("a job for a certificate", changed(certificate=to_base64url(JOB_STATEMENT.to_bytes())), "wrong_kind")
    challenged("a challenge of 30,001 ms", changed(expires_ms=NOW_MS + 30_001), "expired")
    challenged("90 s late, within the skew", challenge, "ok", now_ms=NOW_MS + 89_999)
    challenged("beyond the skew", challenge, "expired", now_ms=NOW_MS + 90_000)
    challenged("from the future, beyond the skew", challenge, "expired", now_ms=NOW_MS - 60_001)
    answered("the answer", hello, "ok")
    answered("the answer's last millisecond", hello, "ok", now_ms=NOW_MS + 29_999)
    answered("a late answer", hello, "expired", now_ms=NOW_MS + 30_000)
    other_nonce = make_challenge(nonce=NONCE[::-1], audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE)
    answered("a replay in answer to another nonce", hello, "not_for_me", to=other_nonce)
    elsewhere = make_challenge(nonce=NONCE, audience="wss://evil.example", now_ms=NOW_MS, certificate=CERTIFICATE)
    answered("an answer meant for another dispatcher", hello, "not_for_me", to=elsewhere)
    later = make_challenge(nonce=NONCE, audience=AUDIENCE, now_ms=NOW_MS + 1, certificate=CERTIFICATE)
    answered("another expiry", hello, "not_for_me", to=later)
    answered("signed by another key than it names", sign(Kind.HELLO, HELLO, OTHER), "bad_signature")
    answered("a record for a hello", sign(Kind.RECORD, record(), NODE), "wrong_kind")
    for name, fields in (
        ("65 jobs at once", {"max_concurrent_jobs": 65}),
        ("a country in small letters", {"country": "pt"}),
        ("an agent with a line feed", {"agent": "node\n"}),
        ("an agent of 201 characters", {"agent": "n" * 201}),
        ("an unknown purpose", {"purposes": ("spam",)}),
    ):
        answered(name, sign_bytes(Kind.HELLO, _replaced(HELLO, **fields), NODE), "malformed_message")
    return cases
