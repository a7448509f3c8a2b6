"""Which kind of page this is: documented rules over the address, the page's own statements and its markup.

Each rule adds weight to one kind, of the rules over one part of the address only the heaviest; the heaviest kind wins,
and a page that no rule speaks for is `other`. The kinds: article, forum (threads, questions and answers),
documentation, product (one thing for sale), collection (many things for sale), listing (an index of other pages),
service (what an organisation offers).
"""

import re
from collections import Counter, defaultdict
from itertools import islice

from ada_url import URL
from lxml.html import HtmlElement

from cleaning.document import PageType
from cleaning.structured_data import ReadStructuredData, types_of

# (kind, weight, where, pattern): patterns are searched in the lower-case host or path-and-query.
_ADDRESS_RULES: tuple[tuple[PageType, float, str, re.Pattern[str]], ...] = (
    (
        "forum",
        3,
        "host",
        re.compile(r"^(?:forums?|community|communities|discuss|discussions?|bbs|answers|talk|boards?)\."),
    ),
    (
        "forum",
        4,
        "host",
        re.compile(r"(?:^|\.)(?:stackexchange|stackoverflow|superuser|serverfault|askubuntu|quora)\.com$"),
    ),
    ("forum", 4, "host", re.compile(r"(?:^|\.)(?:reddit\.com|news\.ycombinator\.com|mathoverflow\.net)$")),
    ("forum", 4, "path", re.compile(r"/(?:showthread|viewtopic|viewthread|topic_show|forumdisplay)\b")),
    ("forum", 3, "path", re.compile(r"/(?:forums?|threads?|topics?|discussions?|questions|t)/[^/?]+/?[^/]*\d{3}")),
    ("forum", 3, "path", re.compile(r"/(?:forums?|threads?|showthread|bbs|comments|talk)(?:/|\.php)|/r/\w+/comments/")),
    ("documentation", 4, "host", re.compile(r"^(?:docs?|documentation|developers?|devdocs|manual|wiki)\.|readthedocs")),
    (
        "documentation",
        4,
        "path",
        re.compile(r"/(?:docs?|documentation|manual|man-pages|handbook|javadoc|apidocs)(?:/|$)"),
    ),
    (
        "documentation",
        2,
        "path",
        re.compile(r"/(?:reference|api|guides?|tutorials?|learn|library|cookbook)(?:/|$)|manual:"),
    ),
    ("product", 3, "path", re.compile(r"/(?:products?|dp|item|itm|pd|gp/product|listing|app)/[^/?]+")),
    ("product", 2, "path", re.compile(r"/p/[^/?]+|/shop/.+/[^/]*-[^/]*-[^/]*/?$|[-_]p?\d{5,}\.html$")),
    (
        "collection",
        4,
        "path",
        re.compile(r"/(?:collections?|categor(?:y|ies)|zgbs|browse|clearance|sale|cat\d+)(?:/|$|\?)"),
    ),
    ("collection", 2, "path", re.compile(r"/(?:c|shop|store|b|all|mens?|womens?|category\w*)(?:/[^/]*)*/?$|[?&]node=")),
    (
        "listing",
        3,
        "path",
        re.compile(r"/(?:tags?|topics|search|archives?|jobs?|careers|directory|page/\d+|author)(?:/|$|\?)"),
    ),
    (
        "listing",
        2,
        "path",
        re.compile(r"/(?:blog|news|articles|posts|events|category)/?$|category:|list_of_|/best-|/top-"),
    ),
    (
        "article",
        3,
        "path",
        re.compile(r"/(?:19|20)\d\d/(?:[01]?\d|[a-z]{3})/|/(?:blogs?|news|articles?|stor(?:y|ies)|posts?)/.+"),
    ),
    ("article", 1, "path", re.compile(r"/[^/]+-[^/]+-[^/]+-[^/]+-[^/]+/?$")),
    (
        "service",
        3,
        "path",
        re.compile(r"/(?:services?|solutions?|practice-areas?|pricing|insurance|features|about(?:-us)?)(?:/|$)"),
    ),
    ("service", 2, "path", re.compile(r"^/(?:index\.\w+)?(?:\?.*)?$")),
)

_JSON_LD_RULES: dict[str, tuple[PageType, float]] = {
    "DiscussionForumPosting": ("forum", 6),
    "QAPage": ("forum", 5),
    "NewsArticle": ("article", 4),
    "ReportageNewsArticle": ("article", 4),
    "BlogPosting": ("article", 4),
    "Article": ("article", 3),
    "Recipe": ("article", 4),
    "ScholarlyArticle": ("article", 4),
    "TechArticle": ("documentation", 2),
    "APIReference": ("documentation", 4),
    "CollectionPage": ("listing", 3),
    "SearchResultsPage": ("listing", 4),
    "JobPosting": ("listing", 3),
    "OfferCatalog": ("collection", 3),
    "ItemPage": ("product", 1),
    "ProductGroup": ("product", 4),
    "Service": ("service", 3),
    "ProfessionalService": ("service", 2),
    "LocalBusiness": ("service", 2),
    "SoftwareApplication": ("service", 2),
    "FAQPage": ("service", 1),
    "Corporation": ("service", 1),
}

_GENERATORS: tuple[tuple[PageType, re.Pattern[str]], ...] = (
    ("forum", re.compile(r"phpbb|xenforo|discourse|vbulletin|invision|vanilla|nodebb|mybb|smf|flarum", re.I)),
    (
        "documentation",
        re.compile(r"sphinx|mkdocs|docusaurus|gitbook|doxygen|javadoc|docbook|mdbook|vitepress|asciidoc", re.I),
    ),
)
_FORUM_MARKS = re.compile(
    r"\b(?:post-?body|postbody|message-body|topic-post|forum-?post|answercell|comment-?tree|post-message)\b"
)
_PRODUCT_MARKS = re.compile(r"add[-_]?to[-_]?(?:cart|bag|basket)|buy-?now|product-?(?:detail|form|gallery|single|info)")
_CARD_MARKS = re.compile(r"product-?(?:card|item|tile|grid|list)|grid-?product|search-?result|plp\b")


def classify(root: HtmlElement, url: str, stated: ReadStructuredData) -> PageType:
    """Return the kind of a page. `url` is absolute."""
    weights: defaultdict[PageType, float] = defaultdict(float)
    parsed = URL(url)
    at_front = parsed.pathname in {"", "/"}
    address = {"host": parsed.hostname.lower(), "path": f"{parsed.pathname}{parsed.search}".lower()}
    best: dict[tuple[PageType, str], float] = {}
    for kind, weight, where, pattern in _ADDRESS_RULES:
        if pattern.search(address[where]):
            best[kind, where] = max(weight, best.get((kind, where), 0))
    for (kind, _), weight in best.items():
        weights[kind] += weight
    _weigh_statements(weights, stated, at_front=at_front)
    _weigh_markup(weights, root, at_front=at_front)
    if not weights:
        return "other"
    return max(weights, key=lambda kind: weights[kind])


def _weigh_statements(weights: defaultdict[PageType, float], stated: ReadStructuredData, *, at_front: bool) -> None:
    declared = Counter(name for node in stated.nodes() for name in types_of(node))
    for name, (kind, weight) in _JSON_LD_RULES.items():
        if declared[name] and not (kind == "article" and (at_front or declared[name] > 3)):
            weights[kind] += weight
    if declared["Product"] == 1:
        weights["product"] += 4
    elif declared["Product"] > 3:
        weights["collection"] += 4
    kind_stated = (stated.open_graph("og:type") or "").lower()
    if kind_stated in {"product.group", "product:group"}:
        weights["collection"] += 5
    elif kind_stated.endswith("product") or kind_stated == "og:product":
        weights["product"] += 4
    elif kind_stated in {"article", "blog", "news"} and not at_front:
        weights["article"] += 3 if stated.open_graph("article:published_time") else 1


def _weigh_markup(weights: defaultdict[PageType, float], root: HtmlElement, *, at_front: bool) -> None:
    paragraphs = paragraph_text = articles = code = marks_forum = marks_product = cards = 0
    for element in root.iter("p", "article", "pre", "div", "li", "section", "button", "td", "form"):
        tag = element.tag
        if tag == "p":
            size = len(element.text or "") + sum(len(child.tail or "") for child in element)
            if size > 80:
                paragraphs += 1
                paragraph_text += size
            continue
        if tag == "pre":
            code += 1
            continue
        if tag == "article":
            articles += 1
        names = f"{element.get('class') or ''} {element.get('id') or ''}".lower()
        if len(names) > 3:
            marks_forum += _FORUM_MARKS.search(names) is not None
            marks_product += _PRODUCT_MARKS.search(names) is not None
            cards += _CARD_MARKS.search(names) is not None
    for meta in root.iter("meta"):
        if (meta.get("name") or "").lower() == "generator":
            for kind, pattern in _GENERATORS:
                if pattern.search(meta.get("content") or ""):
                    weights[kind] += 4
    if marks_forum >= 2:
        weights["forum"] += 3
    if marks_product:
        weights["product"] += 1
    if cards >= 8:
        weights["collection"] += 2
    if articles >= 8:
        weights["listing"] += 2 if not at_front else 3
    if code >= 4:
        weights["documentation"] += 2
    if paragraph_text > 2500 and paragraphs >= 8 and not at_front:
        weights["article"] += 2
    elif paragraph_text > 1000 and not at_front:
        weights["article"] += 1
    elif paragraph_text < 400 and next(islice(root.iter("a"), 30, None), None) is not None:
        weights["listing"] += 1
