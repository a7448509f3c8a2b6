"""The log in SQLite: written before a fetch begins and when it ends, read by `meadow-node log`."""

import json
from collections.abc import Iterator
from pathlib import Path

from node_agent.adapters.sqlite_file import connect, failing_as_journal_error
from node_agent.fetching import FetchedPage
from node_agent.journal import LogEntry, LogTotals, Outcome
from node_agent.outbox import LeaseKey
from node_agent.owner_rules import UsageToday
from protocol.job import Job
from protocol.messages import Ack

_COLUMNS = (
    "job_id, lease, started_ms, finished_ms, url, final_url, hops, purpose, status, wire_bytes, outcome, detail, "
    "reward, log_index"
)
_Row = tuple[str, int, int, int | None, str, str | None, str, str, int | None, int, str, str, int, int | None]


class SqliteJournal:
    """The log. Every method raises JournalFailed where the file cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._database = connect(folder)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def begin(self, job: Job, *, now_ms: int) -> None:
        """Write down that a URL is about to be fetched."""
        self._write(
            "INSERT INTO fetch (job_id, lease, started_ms, url, purpose, outcome) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (job_id, lease) DO UPDATE SET started_ms = excluded.started_ms, outcome = excluded.outcome, "
            "finished_ms = NULL, detail = ''",
            (job.job_id, job.lease, now_ms, job.url, job.purpose, Outcome.FETCHING),
        )

    def refused(self, job: Job, detail: str, *, now_ms: int) -> None:
        """Write down that a URL was not fetched, by whose rule."""
        self._write(
            "INSERT INTO fetch (job_id, lease, started_ms, finished_ms, url, purpose, outcome, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, lease) DO NOTHING",
            (job.job_id, job.lease, now_ms, now_ms, job.url, job.purpose, Outcome.REFUSED, detail),
        )

    def fetched(self, key: LeaseKey, page: FetchedPage, *, wire_bytes: int, now_ms: int) -> None:
        """Write down a page that now waits for its acknowledgement."""
        self._write(
            "UPDATE fetch SET outcome = ?, finished_ms = ?, final_url = ?, hops = ?, status = ?, "
            "wire_bytes = wire_bytes + ? WHERE job_id = ? AND lease = ?",
            (Outcome.SENT, now_ms, page.final_url, json.dumps(page.hops), page.status, wire_bytes, *key),
        )

    def ended(self, key: LeaseKey, outcome: Outcome, detail: str, *, wire_bytes: int, now_ms: int) -> None:
        """Write down an end without a page, with the bytes it took all the same."""
        self._write(
            "UPDATE fetch SET outcome = ?, detail = ?, finished_ms = ?, wire_bytes = wire_bytes + ? "
            "WHERE job_id = ? AND lease = ?",
            (outcome, detail, now_ms, wire_bytes, *key),
        )

    def acknowledged(self, ack: Ack) -> None:
        """Write down what became of a result; a repeat, or an answer that was no result, changes nothing."""
        self._write(
            "UPDATE fetch SET outcome = ?, detail = ?, reward = ?, log_index = ? "
            "WHERE job_id = ? AND lease = ? AND outcome IN (?, ?)",
            (
                *(Outcome(ack.outcome), ack.reason[:500], ack.reward, ack.log_index),
                *(ack.job_id, ack.lease, Outcome.SENT, Outcome.INTERRUPTED),
            ),
        )

    def interrupt_unfinished(self) -> None:
        """At start: mark what an earlier run left in the middle."""
        self._write("UPDATE fetch SET outcome = ? WHERE outcome = ?", (Outcome.INTERRUPTED, Outcome.FETCHING))

    def outcome(self, key: LeaseKey) -> Outcome | None:
        """Return what came of a lease, None where it was never seen."""
        with failing_as_journal_error():
            row = self._database.execute("SELECT outcome FROM fetch WHERE job_id = ? AND lease = ?", key).fetchone()
        return Outcome(row[0]) if row else None

    def usage_since(self, from_ms: int) -> UsageToday:
        """Sum what was begun since a moment (UTC ms)."""
        with failing_as_journal_error():
            jobs, wire_bytes = self._database.execute(
                "SELECT count(*), coalesce(sum(wire_bytes), 0) FROM fetch WHERE started_ms >= ? AND outcome <> ?",
                (from_ms, Outcome.REFUSED),
            ).fetchone()
        return UsageToday(jobs, wire_bytes)

    def totals(self) -> LogTotals:
        """Sum the whole log."""
        with failing_as_journal_error():
            jobs, wire_bytes, reward = self._database.execute(
                "SELECT count(*), coalesce(sum(wire_bytes), 0), coalesce(sum(reward), 0) FROM fetch WHERE outcome <> ?",
                (Outcome.REFUSED,),
            ).fetchone()
        return LogTotals(jobs, wire_bytes, reward)

    def newest(self, limit: int | None) -> Iterator[LogEntry]:
        """Read the log from its newest entry, at most `limit` of them."""
        with failing_as_journal_error():
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM fetch ORDER BY number DESC LIMIT ?",  # noqa: S608  (a constant of this file)
                (-1 if limit is None else limit,),
            )
            for row in rows:
                yield _entry(row)

    def _write(self, statement: str, values: tuple[str | int | None, ...]) -> None:
        with failing_as_journal_error():
            self._database.execute(statement, values)


def _entry(row: _Row) -> LogEntry:
    (
        job_id,
        lease,
        started_ms,
        finished_ms,
        url,
        final_url,
        hops,
        purpose,
        status,
        size,
        outcome,
        detail,
        reward,
        index,
    ) = row
    return LogEntry(
        job_id=job_id,
        lease=lease,
        started_ms=started_ms,
        finished_ms=finished_ms,
        url=url,
        final_url=final_url,
        hops=tuple(json.loads(hops)),
        purpose=purpose,
        status=status,
        wire_bytes=size,
        outcome=Outcome(outcome),
        detail=detail,
        reward=reward,
        log_index=index,
    )
