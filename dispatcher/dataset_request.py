"""Labs' requests for datasets: JSON to typed requests, or a rejection with its reasons.

{"job": ID}                                        what a batch brought; the earliest form
{"source": {"job": ID} | {"jobs": [ID, ...]}       ended batches
         | {"query": {...}}                        what the team's batches fetched
         | {"urls": [...], "options": {...}},      URLs to be fetched now, as a batch of their own
 "format": NAME | "formats": [NAME, ...], "name": TEXT, "versionOf": ID}
"""

import difflib
from datetime import UTC, datetime
from typing import Final, get_args

import msgspec

from cleaning.document import PAGE_TYPES, PageType
from dispatcher.datasets import DEFAULT_FORMATS, FORMATS, DatasetFormat, JobsSource, QuerySource
from dispatcher.request_fields import (
    JsonObject,
    JsonValue,
    Problem,
    Rejected,
    is_whole,
    read_object,
    rejected,
    shown,
)
from dispatcher.scrape_request import ScrapeRequest, decode_batch
from protocol.ids import is_uuid7
from protocol.job import Purpose
from protocol.urls import NO_TEST_SITES, TestSites

MAX_JOBS: Final = 1_000
MAX_NAME: Final = 200
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
_FIELDS: Final = ("job", "source", "format", "formats", "name", "versionOf")
_SOURCES: Final = ("job", "jobs", "query", "urls", "options")
_QUERY: Final = ("host", "urlPrefix", "from", "to", "language", "pageType", "minWords", "purpose")
_ONE_SOURCE: Final = "an object with one of job, jobs, query or urls"
_NO_OPTIONS: Final = frozenset({"urls", "appendToId", "webhook"})


class DatasetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a dataset, or for a new version of one. `source` is None only for a version: as the last one."""

    source: JobsSource | QuerySource | ScrapeRequest | None
    formats: tuple[DatasetFormat, ...] | None = None
    name: str | None = None
    version_of: str | None = None


def decode_dataset(
    body: bytes, *, test_sites: TestSites = NO_TEST_SITES, has_model: bool = False, has_browser: bool = False
) -> DatasetRequest | Rejected:
    """Decode the body of `POST /v1/datasets`."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    return _Reader(test_sites, has_model=has_model, has_browser=has_browser).read(fields, _FIELDS, needs_source=True)


def decode_version(
    body: bytes, *, test_sites: TestSites = NO_TEST_SITES, has_model: bool = False, has_browser: bool = False
) -> DatasetRequest | Rejected:
    """Decode the body of `POST /v1/datasets/{id}/versions`: what differs from the last version; `{}` for nothing."""
    fields = read_object(body or b"{}")
    if isinstance(fields, Rejected):
        return fields
    return _Reader(test_sites, has_model=has_model, has_browser=has_browser).read(
        fields, ("source", "format", "formats"), needs_source=False
    )


class _Reader:
    """Owns the problems found in one request."""

    def __init__(self, test_sites: TestSites, *, has_model: bool, has_browser: bool) -> None:
        self._test_sites, self._has_model, self._has_browser = test_sites, has_model, has_browser
        self._problems: list[Problem] = []
        self._rejection: Rejected | None = None

    def read(self, fields: JsonObject, known: tuple[str, ...], *, needs_source: bool) -> DatasetRequest | Rejected:
        self._no_others(fields, known, "")
        source: JobsSource | QuerySource | ScrapeRequest | None = None
        if "job" in fields and "job" in known:
            source = self._job("job", fields["job"])
            if "source" in fields:
                self._refuse("source", fields["source"], "nothing beside job", "job is a source already")
        elif "source" in fields:
            source = self._source(fields["source"])
        elif needs_source:
            self._problems.append(Problem("source", "nothing", _ONE_SOURCE))
        request = DatasetRequest(
            source=source,
            formats=self._formats(fields),
            name=self._name(fields.get("name")),
            version_of=self._version_of(fields.get("versionOf")),
        )
        if self._problems:
            return rejected(self._problems)
        return self._rejection or request

    def _refuse(self, field: str, got: JsonValue, accepts: str, reason: str | None = None) -> None:
        self._problems.append(Problem(field, shown(got), accepts, reason))

    def _no_others(self, fields: JsonObject, known: tuple[str, ...], prefix: str) -> None:
        for name in fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else "no such field"
                self._refuse(f"{prefix}{name[:100]}", fields[name], "nothing", hint)

    def _job(self, field: str, job: JsonValue) -> JobsSource | None:
        if isinstance(job, str) and is_uuid7(job):
            return JobsSource((job,))
        self._refuse(field, job, "the id of a batch or crawl")
        return None

    def _source(self, value: JsonValue) -> JobsSource | QuerySource | ScrapeRequest | None:
        if not isinstance(value, dict):
            self._refuse("source", value, _ONE_SOURCE)
            return None
        source: JsonObject = {name: item for name, item in value.items() if item is not None}
        self._no_others(source, _SOURCES, "source.")
        kinds = [name for name in _SOURCES[:-1] if name in source]
        if len(kinds) != 1:
            self._refuse("source", value, _ONE_SOURCE)
            return None
        if "options" in source and kinds != ["urls"]:
            self._refuse("source.options", source["options"], "nothing", "options are for URLs that are fetched now")
        if kinds == ["job"]:
            return self._job("source.job", source["job"])
        if kinds == ["jobs"]:
            return self._jobs(source["jobs"])
        return self._query(source["query"]) if kinds == ["query"] else self._urls(source)

    def _jobs(self, jobs: JsonValue) -> JobsSource | None:
        accepts = f"a list of 1 to {MAX_JOBS} ids of batches or crawls, each once"
        if not isinstance(jobs, list) or not 0 < len(jobs) <= MAX_JOBS:
            self._refuse("source.jobs", jobs, accepts)
            return None
        ids = [job for job in jobs if isinstance(job, str) and is_uuid7(job)]
        if len(set(ids)) != len(jobs):
            self._refuse("source.jobs", jobs, accepts)
            return None
        return JobsSource(tuple(ids))

    def _query(self, value: JsonValue) -> QuerySource | None:
        if not isinstance(value, dict):
            self._refuse("source.query", value, f"an object with any of {', '.join(_QUERY)}")
            return None
        query: JsonObject = {name: item for name, item in value.items() if item is not None}
        self._no_others(query, _QUERY, "source.query.")
        host, prefix, words = query.get("host"), query.get("urlPrefix"), query.get("minWords")
        if host is not None and not (isinstance(host, str) and 0 < len(host) <= 300 and "/" not in host):
            self._refuse("source.query.host", host, "a host name, as www.example.org")
        if prefix is not None and not (
            isinstance(prefix, str) and len(prefix) <= 2_000 and prefix.startswith(("https://", "http://"))
        ):
            self._refuse("source.query.urlPrefix", prefix, "what a URL begins with, as https://example.org/news/")
        if words is not None and not is_whole(words, 1, 10_000_000):
            self._refuse("source.query.minWords", words, "a whole number, 1 or more")
        language, page_type, purpose = query.get("language"), query.get("pageType"), query.get("purpose")
        if language is not None and not (isinstance(language, str) and language.isascii() and language.isalpha()):
            self._refuse("source.query.language", language, "a language, as en (BCP 47 primary subtag)")
        if page_type is not None and page_type not in PAGE_TYPES:
            self._refuse("source.query.pageType", page_type, " or ".join(PAGE_TYPES))
        if purpose is not None and purpose not in PURPOSES:
            self._refuse("source.query.purpose", purpose, " or ".join(PURPOSES))
        from_ms, to_ms = self._time("from", query.get("from")), self._time("to", query.get("to"))
        if from_ms is not None and to_ms is not None and from_ms >= to_ms:
            self._refuse("source.query.to", query["to"], "a time after from")
        return QuerySource(
            host=host.lower() if isinstance(host, str) else None,
            url_prefix=prefix if isinstance(prefix, str) else None,
            from_ms=from_ms,
            to_ms=to_ms,
            language=language.lower() if isinstance(language, str) else None,
            page_type=_page_type(page_type),
            min_words=words if isinstance(words, int) else None,
            purpose=next((known for known in PURPOSES if known == purpose), None),
        )

    def _time(self, name: str, value: JsonValue) -> int | None:
        if value is None:
            return None
        if isinstance(value, int) and is_whole(value, 0, 2**53):
            return value
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
                return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
            except (ValueError, OverflowError):
                pass
        self._refuse(f"source.query.{name}", value, "a time, RFC 3339 or UTC milliseconds")
        return None

    def _urls(self, source: JsonObject) -> ScrapeRequest | None:
        options = source.get("options", {})
        if not isinstance(options, dict):
            self._refuse("source.options", options, "an object with the options of a batch")
            return None
        for name in options.keys() & _NO_OPTIONS:
            self._refuse(f"source.options.{name}", options[name], "nothing", "it is no option of a dataset's pages")
        kept = {name: item for name, item in options.items() if name not in _NO_OPTIONS}
        decoded = decode_batch(
            msgspec.json.encode({**kept, "urls": source["urls"]}),
            test_sites=self._test_sites,
            has_model=self._has_model,
            has_browser=self._has_browser,
        )
        if isinstance(decoded, ScrapeRequest):
            return decoded
        problems = [msgspec.structs.replace(each, field=_placed(each.field)) for each in decoded.problems]
        self._rejection = rejected(problems, code=decoded.code, status=decoded.status)
        if decoded.code == "BAD_REQUEST":
            self._problems += problems
        return None

    def _formats(self, fields: JsonObject) -> tuple[DatasetFormat, ...] | None:
        accepts = " or ".join(FORMATS)
        if "format" in fields and "formats" in fields:
            self._refuse("formats", fields["formats"], "nothing beside format", "one of the two is enough")
        name = "format" if "format" in fields else "formats"
        value = fields.get(name)
        if value is None:
            return None
        wanted = [value] if name == "format" and isinstance(value, str) else value
        if not isinstance(wanted, list) or not wanted:
            self._refuse(name, value, accepts if name == "format" else f"a list of {accepts}")
            return None
        found: dict[DatasetFormat, None] = {}
        for place, each in enumerate(wanted):
            known = next((one for one in FORMATS if one == each), None)
            if known is None:
                self._refuse(name if wanted is not value else f"{name}[{place}]", each, accepts)
            else:
                found[known] = None
        return tuple(each for each in FORMATS if each in found)

    def _name(self, name: JsonValue) -> str | None:
        if name is None:
            return None
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable():
            return name
        self._refuse("name", name, f"1 to {MAX_NAME} printable characters")
        return None

    def _version_of(self, dataset_id: JsonValue) -> str | None:
        if dataset_id is None:
            return None
        if isinstance(dataset_id, str) and is_uuid7(dataset_id):
            return dataset_id
        self._refuse("versionOf", dataset_id, "the id of a dataset")
        return None


def _page_type(value: JsonValue) -> PageType | None:
    return next((known for known in PAGE_TYPES if known == value), None)


def _placed(field: str) -> str:
    return f"source.{field}" if field.startswith("urls") else f"source.options.{field}"


def formats_or_default(formats: tuple[DatasetFormat, ...] | None) -> tuple[DatasetFormat, ...]:
    """Return the formats asked for, or those of a request that names none."""
    return DEFAULT_FORMATS if formats is None else formats
