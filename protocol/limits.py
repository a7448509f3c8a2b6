"""The limits of PROTOCOL.md, section 8. Sizes in bytes, times in milliseconds."""

SAFE_INTEGER = 2**53 - 1
"""The largest integer a field may hold: every integer up to it is exact in ECMAScript."""
URL_BYTES = 2_048
TEXT_FRAME_BYTES = 65_536
STATEMENT_PAYLOAD_BYTES = 60_000
"""A statement fits the 16-bit length of a C2SP tlog-tiles entry bundle (65,535) with its 69-byte header."""
WIRE_BYTES = 5 * 1024 * 1024
BODY_BYTES = 20 * 1024 * 1024
BODY_RATIO = 200
BODY_RATIO_FLOOR_BYTES = 1024 * 1024
"""A decoded body below this size is never refused for its ratio: small pages of repeated text compress well."""
BODY_MEMBERS = 64
"""gzip members (RFC 1952, section 2.2) or zstd frames (RFC 8878, section 3.1) of one body."""
BINARY_FRAME_BYTES = WIRE_BYTES + STATEMENT_PAYLOAD_BYTES + 69
REDIRECTS = 5
HEADER_VALUE_BYTES = 1_024
AGENT_BYTES = 200
EVIDENCE_ITEMS = 8
EVIDENCE_BYTES = 256
REPUTATION_MOST = 1_000
REPUTATION_PARTS = 8
REPUTATION_INTERVAL_MS = 10_000
JOB_TIMEOUT_MS = 30_000
JOB_LIFETIME_MS = 120_000
CLOCK_SKEW_MS = 60_000
CHALLENGE_LIFETIME_MS = 30_000
PING_INTERVAL_MS = 20_000
SILENCE_LIMIT_MS = 60_000
NODE_CONCURRENT_JOBS = 64
