"""What the demonstration scrapes, and how each page must end.

Every `document` path has a file under `pages/` of the same name (`/docs/` is `pages/docs/index.html`), except
`/almanac`, which is generated. People, places and organisations on the site are invented.
"""

from dataclasses import dataclass
from typing import Final, Literal

Expectation = Literal["document", "http_404", "redirect", "robots_refused", "address_refused"]


@dataclass(frozen=True, slots=True)
class DemoPage:
    """One path of the site, what sort of page it is, and the terminal state a scrape of it must reach.

    `redirect` ends as a document whose final URL is another path of the site.
    """

    path: str
    kind: str
    expect: Expectation = "document"


def _documents(kind: str, *paths: str) -> tuple[DemoPage, ...]:
    return tuple(DemoPage(path, kind) for path in paths)


DEMO_PATHS: Final[tuple[DemoPage, ...]] = (
    *_documents("listing", "/", "/forum/"),
    *_documents(
        "article",
        "/news/footbridge-reopens",
        "/news/mill-pond-otters",
        "/news/siren-test-live",
        "/news/bakery-centenary",
        "/opinion/leave-the-leaves",
        "/obituaries/ines-halloran",
        "/library/reading-list-rivers",
        "/club/walks/three-tarns",
        "/club/safety-notes",
        "/club/winter-meet",
        "/club/history-of-the-hut",
        "/blog/lever-frame",
        "/blog/counting-swifts",
        "/blog/cold-kitchen-bread",
        "/blog/letter-from-the-ferry",
    ),
    *_documents("table", "/news/bus-42-timetable", "/news/budget-explained", "/club/summits", "/seeds/price-list"),
    *_documents("event", "/library/night-of-maps"),
    *_documents("reference", "/library/", "/library/dialect-words", "/library/faq"),
    *_documents("product", "/seeds/tomato-lamplighter", "/seeds/bean-night-ferry", "/seeds/kale-longstone"),
    *_documents("recipe", "/seeds/recipe-bean-broth"),
    *_documents("how_to", "/seeds/growing-leeks"),
    *_documents(
        "docs",
        "/docs/",
        "/docs/install",
        "/docs/tutorial",
        "/docs/file-format",
        "/docs/cli-reference",
        "/docs/changelog",
    ),
    *_documents(
        "forum",
        "/forum/1841-swarm-in-the-chimney",
        "/forum/1902-winter-treatment-timing",
        "/forum/1955-heather-honey-stuck",
        "/forum/1977-smoker-fuel",
    ),
    *_documents(
        "non_latin",
        "/world/zh/tea-terraces",
        "/world/zh-hant/night-market",
        "/world/ja/paper-mill",
        "/world/ar/water-channels",
        "/world/hi/stepwell",
        "/world/el/island-school",
        "/world/th/canal-boats",
    ),
    *_documents("legacy_charset", "/world/ja/railway-notice", "/world/ru/museum-of-clocks"),
    *_documents("translated", "/world/id/mangrove-nursery", "/world/es/seed-exchange"),
    DemoPage("/slow", "slow"),
    DemoPage("/almanac", "large"),
    DemoPage("/broken", "broken_html"),
    DemoPage("/old-news", "redirect", "redirect"),
    DemoPage("/walks", "two_hop_redirect", "redirect"),
    DemoPage("/escape", "redirect_to_private_address", "address_refused"),
    DemoPage("/missing", "not_found", "http_404"),
    DemoPage("/private/members", "disallowed", "robots_refused"),
)
