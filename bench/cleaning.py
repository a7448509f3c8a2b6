"""What a page costs to clean, beside plain trafilatura on the same pages, in one process."""

import gzip
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trafilatura

from bench.options import Options
from bench.table import Table, figure, ratio
from cleaning import to_document
from dispatcher.demo.site.rendering import load_pages

_GOLD = Path(__file__).parents[2] / "shared" / "data" / "extraction"
_GOLD_PAGES = 100
_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class _Page:
    url: str
    body: bytes
    content_type: str | None


class _GoldRow(msgspec.Struct):
    id: str
    url: str


async def run(_: Options) -> list[Table]:
    """Measure the demonstration's pages, and gold pages where they are."""
    table = Table("cleaning: CPU ms a page (beside: trafilatura.extract to markdown with metadata)")
    demo = [_Page(f"http://demo.example{page.path}", page.body, page.content_type) for page in load_pages().values()]
    _measure(table, "demo site", [page for page in demo if len(page.body) < 1_000_000])
    for page in demo:
        if len(page.body) >= 1_000_000:
            _measure(table, f"demo site's {len(page.body) / 1e6:.1f} MB page", [page])
    gold = _gold_pages()
    if gold:
        _measure(table, "gold pages", gold)
    else:
        table.notes.append("gold pages are not on this machine: left out")
    return [table]


def _measure(table: Table, name: str, pages: Sequence[_Page]) -> None:
    for page in pages[:_WARM_UP] if len(pages) > 1 else ():
        _ours(page)
        _plain(page)
    ours, plain = zip(*((_cpu_ms(_ours, page), _cpu_ms(_plain, page)) for page in pages), strict=True)
    size = statistics.mean(len(page.body) for page in pages) / 1_000
    label = f"{name}: {len(pages)}, mean {size:,.0f} KB"
    table.add(f"{label}, mean", *_cells(statistics.mean(ours), statistics.mean(plain)))
    if len(pages) > 1:
        table.add(f"{label}, median", *_cells(statistics.median(ours), statistics.median(plain)))


def _cells(ours: float, plain: float) -> tuple[str, str, str]:
    return figure(ours), figure(plain), ratio(ours, plain)


def _cpu_ms(work: Callable[[_Page], object], page: _Page) -> float:
    started = time.process_time()
    work(page)
    return (time.process_time() - started) * 1000


def _ours(page: _Page) -> object:
    return to_document(page.body, url=page.url, content_type=page.content_type)


def _plain(page: _Page) -> object:
    return trafilatura.extract(page.body, url=page.url, output_format="markdown", with_metadata=True)


def _gold_pages() -> list[_Page]:
    listed = _GOLD / "gold.jsonl.gz"
    if not listed.exists():
        return []
    rows = [msgspec.json.decode(line, type=_GoldRow) for line in gzip.decompress(listed.read_bytes()).splitlines()]
    step = max(1, len(rows) // _GOLD_PAGES)
    return [
        _Page(row.url, gzip.decompress((_GOLD / "html" / f"{row.id}.html.gz").read_bytes()), "text/html; charset=utf-8")
        for row in rows[::step][:_GOLD_PAGES]
    ]
