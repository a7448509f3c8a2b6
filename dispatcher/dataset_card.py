"""A dataset's card: what it is, when and where from, what sites said of its use, and what did not become a row.

As JSON (`card.json`) and for people (`card.md`). Its part `dataProvenance` has the fields of the Data Provenance
Standards of the Data & Trust Alliance, version 1.0.0, named as in their JSON schema. Nothing is filled in that the
network does not know: who holds copyright, or whether personal data is in the pages, is not known to it.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.compliance_signals import Compliance, signal_names
from dispatcher.datasets import Dataset, DatasetSource, JobsSource, QuerySource
from protocol.dataset import Row
from protocol.record import Record

CARD_JSON: Final = "card.json"
CARD_TEXT: Final = "card.md"
STANDARD: Final = "1.0.0"
_LISTED: Final = 100
_UNKNOWN_COUNTRY: Final = "unknown"
_MEDIA_TYPES: Final = {
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
    "csv": "text/csv",
    "warc": "application/warc",
}


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation, by name."""

    name: str


class Geography(msgspec.Struct, frozen=True, kw_only=True):
    """A country, ISO 3166-1 alpha-2, or `unknown`."""

    country: str


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    """A code, where it is from, and what it means."""

    code: str
    system: str | UnsetType = UNSET
    description: str


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when, RFC 3339."""

    start: str
    end: str


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Data Provenance Standards 1.0.0, group `source`."""

    version: str
    title: str
    id: str
    location: str | UnsetType = UNSET
    issuer: tuple[Party, ...]
    description: str


class ProvenanceFacts(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Data Provenance Standards 1.0.0, group `provenance`."""

    source: str
    origin: tuple[Party, ...]
    origin_geography: tuple[Geography, ...]
    date: str
    previous_date: str | UnsetType = UNSET
    generation_period: Period | UnsetType = UNSET
    generation_method: tuple[Coded, ...]
    format: tuple[str, ...]


class UseFacts(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Data Provenance Standards 1.0.0, group `use`, as far as it is known."""

    license: str
    intended_purpose: tuple[Coded, ...]
    copyright: tuple[str, ...]


class DataProvenance(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of the Data Provenance Standards."""

    source: SourceFacts
    provenance: ProvenanceFacts
    use: UseFacts


class Card(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The card. Counts are of rows; `dropped` is of pages that did not become one, by reason. Times are RFC 3339.

    `countries` counts by the country that nodes were asked to be in, `unknown` where none was asked for. `signals`
    counts rows by what their sites said of use, `license_links` by the licence they point to; both the most frequent.
    """

    dataset_id: str
    series_id: str
    version: int
    name: str
    made_from: DatasetSource
    created: str
    fetched_from: str | None
    fetched_until: str | None
    rows: int
    words: int
    root: str
    log_origin: str
    log_index: int
    statement_id: str
    hosts: dict[str, int]
    host_count: int
    countries: dict[str, int]
    languages: dict[str, int]
    page_types: dict[str, int]
    purposes: dict[str, int]
    signals: dict[str, int]
    rows_without_signals: int
    license_links: dict[str, int]
    dropped: dict[str, int]
    formats: tuple[str, ...]
    tool_version: str
    data_provenance: DataProvenance


class CardFacts:
    """Counts what a card says, row by row; what it holds grows with hosts and licences, not with rows."""

    def __init__(self) -> None:
        self.hosts: Counter[str] = Counter()
        self.countries: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.page_types: Counter[str] = Counter()
        self.purposes: Counter[str] = Counter()
        self.signals: Counter[str] = Counter()
        self.license_links: Counter[str] = Counter()
        self.rows, self.words, self.without_signals = 0, 0, 0
        self.first_ms: int | None = None
        self.last_ms: int | None = None

    def add(self, row: Row, record: Record, compliance: Compliance, *, host: str, country: str | None) -> None:
        """Count a row."""
        self.rows += 1
        self.words += len(row.text.split())
        self.hosts[host] += 1
        self.countries[country or _UNKNOWN_COUNTRY] += 1
        self.languages[row.language or "unknown"] += 1
        self.page_types[row.page_type] += 1
        self.purposes[record.purpose] += 1
        names = list(signal_names(compliance))
        self.signals.update(names)
        self.without_signals += not names
        self.license_links.update({signal.url for signal in (*compliance.rsl, *compliance.licenses)})
        self.first_ms = row.fetched_ms if self.first_ms is None else min(self.first_ms, row.fetched_ms)
        self.last_ms = row.fetched_ms if self.last_ms is None else max(self.last_ms, row.fetched_ms)


class CardSeal(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a dataset once its statement is in the log. `previous_ms` is when its last version was made."""

    created_ms: int
    root: str
    log_origin: str
    log_index: int
    statement_id: str
    tool_version: str
    previous_ms: int | None = None


def make_card(dataset: Dataset, facts: CardFacts, seal: CardSeal, dropped: Mapping[str, int]) -> Card:
    """Make the card of a dataset."""
    return Card(
        dataset_id=dataset.dataset_id,
        series_id=dataset.series_id,
        version=dataset.version,
        name=_title(dataset),
        made_from=dataset.source,
        created=_time(seal.created_ms),
        fetched_from=None if facts.first_ms is None else _time(facts.first_ms),
        fetched_until=None if facts.last_ms is None else _time(facts.last_ms),
        rows=facts.rows,
        words=facts.words,
        root=seal.root,
        log_origin=seal.log_origin,
        log_index=seal.log_index,
        statement_id=seal.statement_id,
        hosts=_most(facts.hosts),
        host_count=len(facts.hosts),
        countries=_most(facts.countries),
        languages=_most(facts.languages),
        page_types=_most(facts.page_types),
        purposes=_most(facts.purposes),
        signals=_most(facts.signals),
        rows_without_signals=facts.without_signals,
        license_links=_most(facts.license_links),
        dropped=dict(dropped),
        formats=dataset.formats,
        tool_version=seal.tool_version,
        data_provenance=_data_provenance(dataset, facts, seal),
    )


def card_json(card: Card) -> bytes:
    """Write a card as JSON."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def card_text(card: Card) -> bytes:
    """Write a card in Markdown. What pages or labs have written stands in code spans, on one line."""
    lines = [
        f"# {_code(card.name)}, version {card.version}",
        "",
        f"{card.rows} pages of {card.host_count} hosts, {card.words} words. {_made_from(card.made_from)}",
        "",
        f"- dataset: `{card.dataset_id}` (series `{card.series_id}`)",
        f"- made: {card.created} by {_code(card.tool_version)}",
        f"- fetched: {card.fetched_from or 'nothing'} to {card.fetched_until or 'nothing'}",
        f"- Merkle root over the rows: `{card.root}`",
        f"- statement: entry {card.log_index} of the log {_code(card.log_origin)}, `{card.statement_id}`",
        "- check it: `meadow-verify dataset FOLDER --log LOG --solana URL`",
        "",
        "Each page was read by somebody's device that had agreed to it, named itself as MeadowBot and kept to the",
        "site's robots.txt. The column `provenance` of each row holds the device's signed record.",
        "",
    ]
    for title, counts, note in (
        ("Hosts", card.hosts, "the most frequent" if card.host_count > len(card.hosts) else ""),
        ("Countries", card.countries, "where the devices were asked to be"),
        ("Languages", card.languages, ""),
        ("Kinds of pages", card.page_types, ""),
        ("Declared purposes", card.purposes, "what sites' operators could know the pages were fetched for"),
        ("Signals of use", card.signals, f"as seen at the time; {card.rows_without_signals} rows have none"),
        ("Licences pointed to", card.license_links, ""),
        ("Pages that did not become rows", card.dropped, "the manifest lists each"),
    ):
        lines += [f"## {title}", "", *([f"{note[0].upper()}{note[1:]}.", ""] if note else [])]
        lines += [*(_table(counts) if counts else ["None."]), ""]
    lines += [
        "## Use",
        "",
        card.data_provenance.use.license,
        "",
        f"Data Provenance Standards {STANDARD} (Data & Trust Alliance): `dataProvenance` in `{CARD_JSON}`.",
        "",
    ]
    return "\n".join(lines).encode()


def _table(counts: Mapping[str, int]) -> list[str]:
    return ["| | pages |", "|---|---:|", *(f"| {_code(name)} | {number} |" for name, number in counts.items())]


def _data_provenance(dataset: Dataset, facts: CardFacts, seal: CardSeal) -> DataProvenance:
    period: Period | UnsetType = UNSET
    if facts.first_ms is not None and facts.last_ms is not None:
        period = Period(start=_time(facts.first_ms), end=_time(facts.last_ms))
    return DataProvenance(
        source=SourceFacts(
            version=STANDARD,
            title=_title(dataset),
            id=dataset.dataset_id,
            issuer=(Party(name=seal.log_origin),),
            description=f"{facts.rows} web pages as text with their provenance. {_made_from(dataset.source)}",
        ),
        provenance=ProvenanceFacts(
            source="the column provenance of each row: the signed record of its fetch, an entry of the log",
            origin=tuple(Party(name=host) for host in _most(facts.hosts)),
            origin_geography=tuple(Geography(country=country) for country in _most(facts.countries))
            or (Geography(country=_UNKNOWN_COUNTRY),),
            date=_time(seal.created_ms),
            previous_date=UNSET if seal.previous_ms is None else _time(seal.previous_ms),
            generation_period=period,
            generation_method=(
                Coded(
                    code="web-crawl", description="public pages read over HTTP, robots.txt honoured, nothing bypassed"
                ),
            ),
            format=tuple(_MEDIA_TYPES[name] for name in dict.fromkeys(("parquet", *dataset.formats))),
        ),
        use=UseFacts(
            license="No licence is granted by this dataset: each page is under its own terms. What sites said of the "
            "use of their pages was counted, not judged; compliance.ndjson has it for each row.",
            intended_purpose=tuple(
                Coded(code=purpose, system="MeadowBot purpose", description=f"declared to the sites of {number} pages")
                for purpose, number in _most(facts.purposes).items()
            ),
            copyright=("unknown: pages may be protected by the copyright of their authors",),
        ),
    )


def _made_from(source: DatasetSource) -> str:
    if isinstance(source, JobsSource):
        return f"Made of {'one job' if len(source.jobs) == 1 else f'{len(source.jobs)} jobs'}."
    if isinstance(source, QuerySource):
        asked = {name: value for name, value in msgspec.structs.asdict(source).items() if value is not None}
        words = ", ".join(f"{name} {_code(str(value))}" for name, value in asked.items())
        return f"Made of all pages fetched that have {words}." if words else "Made of all pages fetched."
    return f"Made of {source.urls} URLs that came with the request."


def _title(dataset: Dataset) -> str:
    return dataset.name or f"Dataset {dataset.series_id}"


def _most(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_LISTED])


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _code(text: str) -> str:
    """Show a text that somebody else wrote: one line, no markup of its own."""
    shown = "".join(char if char.isprintable() else " " for char in text).replace("`", "'").replace("|", "/")
    return f"`{shown[:200]}`"
