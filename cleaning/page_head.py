"""What a page's head says: the `meta` elements that labs ask for by name, and the icon.

OpenGraph properties are not among them: those stand in a document's structured data.
"""

from lxml.html import HtmlElement

from cleaning.links import resolve
from cleaning.tree import collapse

MAX_CONTENT_CHARACTERS = 5_000
_MAX_PAIRS = 100
FAVICON = "favicon"
_NAMES = frozenset(
    {
        "description", "keywords", "robots", "dcterms.created", "dc.date.created", "dc.date", "dcterms.type",
        "dc.type", "dcterms.audience", "dcterms.subject", "dc.subject", "dc.description", "dcterms.keywords",
    }
)  # fmt: skip


def read_head(root: HtmlElement, base: str) -> tuple[tuple[str, str], ...]:
    """Collect (lower-case name, content) pairs in page order, each once; the icon's address last, under `favicon`."""
    pairs: dict[tuple[str, str], None] = {}
    for meta in root.iter("meta"):
        name = (meta.get("name") or meta.get("property") or "").strip().lower()
        if name in _NAMES and (content := collapse(meta.get("content") or "")[:MAX_CONTENT_CHARACTERS]):
            pairs[name, content] = None
            if len(pairs) == _MAX_PAIRS:
                break
    for link in root.iter("link"):
        if "icon" in (link.get("rel") or "").lower().split() and (icon := resolve(link.get("href") or "", base)):
            pairs[FAVICON, icon] = None
            break
    return tuple(pairs)
