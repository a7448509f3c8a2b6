"""What must hold of crawls and windows in a ledger, and queries that count where it does not (`sql_audit`)."""

from dispatcher.jobs import HELD_DEADLINE_MS

_READ = (
    "SELECT batch_id, count(*) FILTER (WHERE read_ms IS NOT NULL AND is_map = 0) AS pages,"
    " count(*) FILTER (WHERE read_ms IS NOT NULL AND is_map = 1) AS maps FROM crawl_pages GROUP BY batch_id"
)
_WAITING = "SELECT batch_id, count(*) AS n FROM crawl_waiting GROUP BY batch_id"
_TWICE = (
    "SELECT jobs.batch_id, jobs.url FROM jobs JOIN crawls ON crawls.batch_id = jobs.batch_id"
    " GROUP BY jobs.batch_id, jobs.url HAVING count(*) > 1"
)

CRAWL_RULES = {
    "every crawl counts the pages and site maps it has read": (
        f"SELECT count(*) FROM crawls LEFT JOIN ({_READ}) AS found ON found.batch_id = crawls.batch_id"  # noqa: S608 (own names)
        " WHERE coalesce(pages, 0) <> crawls.read OR coalesce(maps, 0) <> maps_read"
    ),
    "every crawl counts the pages that wait in it, which are deleted some time after its end": (
        f"SELECT count(*) FROM crawls LEFT JOIN ({_WAITING}) AS found ON found.batch_id = crawls.batch_id"  # noqa: S608 (own names)
        " WHERE coalesce(n, 0) <> waiting AND (ended_ms IS NULL OR n > waiting)"
    ),
    "no crawl asks for a page twice": f"SELECT count(*) FROM ({_TWICE}) AS twice",  # noqa: S608 (own names)
    "what a crawl asks for is one of its pages or site maps": (
        "SELECT count(*) FROM jobs JOIN crawls ON jobs.batch_id IN (crawls.batch_id, crawls.discovery_id)"
        " LEFT JOIN crawl_pages ON crawl_pages.job_id = jobs.job_id WHERE crawl_pages.job_id IS NULL"
    ),
    "a crawl that was not cancelled has ended with every page ended and read": (
        "SELECT count(*) FROM crawls JOIN batches ON batches.batch_id = crawls.batch_id"
        " JOIN batch_counts ON batch_counts.batch_id = crawls.batch_id WHERE ended_ms IS NOT NULL"
        " AND cancelled_ms IS NULL AND (queued + fetched > 0 OR crawls.read <> completed + refused + failed)"
    ),
    "jobs are held exactly behind the position of their batch's window": (
        "SELECT count(*) FROM jobs LEFT JOIN batch_windows ON batch_windows.batch_id = jobs.batch_id"  # noqa: S608 (own number)
        f" WHERE state = 'queued' AND (deadline_ms = {HELD_DEADLINE_MS}) <>"
        " (position >= coalesce(next_position, position + 1))"
    ),
}
