"""The main content of a page, as text and as markdown.

Three extractions, from narrow to wide: the rules of trafilatura, made for articles; resiliparse's main content; and all
visible text outside navigation, headers, footers, asides and forms. The kind of page says where to start, and a narrow
extraction that covers too little of a wider one gives way to it. The shares were chosen on a public gold set of seven
kinds of page, where the score changes little around them.
"""

import re
from copy import deepcopy

import msgspec
from lxml.etree import strip_tags
from lxml.html import HtmlElement
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLParserException, HTMLTree
from trafilatura import bare_extraction
from trafilatura.settings import Document as Extracted
from trafilatura.xml import xmltotxt

from cleaning.document import PageType
from cleaning.markdown import render_reduced_html
from cleaning.tree import EXTRACTOR_FAULTS, LXML_DEPTH

LARGE_PAGE_CHARACTERS = 3_000_000
"""Above this only the extractors that stay fast on any size are used."""

SHORT_CHARACTERS = 250
"""Below this the rules find no structure and return loose fragments; resiliparse keeps the paragraphs together."""

_CHROME = (
    "nav", "footer", "header", "aside", ":not(body) > form", "button",
    "[role=navigation]", "[role=banner]", "[role=contentinfo]",
)  # fmt: skip
_NAVIGATION = ("nav", "footer", "header nav", "aside")

# Share of the wider extraction below which the narrower one gives way: (to the main content, to all visible text).
_SHARES: dict[PageType, tuple[float, float]] = {
    "article": (0.6, 0.1),
    "documentation": (0.3, 0.1),
    "forum": (0.35, 0.0),
    "product": (0.0, 0.1),
    "listing": (0.0, 0.5),
    "service": (0.7, 0.2),
    "other": (0.7, 0.2),
}

_BLANK_LINES = re.compile(r"\n{3,}")
_NOT_SPACE = re.compile(r"\S+")


class MainText(msgspec.Struct, frozen=True):
    """The same content twice. Both are empty when the page has none."""

    text: str
    markdown: str


def extract_main_text(root: HtmlElement, html: str, *, base: str, kind: PageType, depth: int) -> MainText:
    """Extract the main content of a page.

    `root` is the parsed `html`, its links already absolute; it is left unchanged. `base` is what relative links start
    from. `depth` is the nesting found by the pre-scan: below `LXML_DEPTH` lines of nesting `root` is complete.
    """
    wide = _Wide(html, base)
    if kind == "collection":
        return wide.visible()
    if depth > LXML_DEPTH or len(html) > LARGE_PAGE_CHARACTERS:
        main = wide.main()
        return main if main.text else wide.visible()
    narrow = _by_rules(root, base, comments=kind == "forum")
    size = _size(narrow.text)
    if size < SHORT_CHARACTERS and _size(wide.main_text()) > size // 2:
        return wide.main()
    share_of_main, share_of_visible = _SHARES[kind]
    if share_of_main and size < share_of_main * _size(wide.main_text()):
        return wide.main()
    if share_of_visible and size < share_of_visible * _size(wide.visible_text()):
        return wide.visible()
    return narrow if narrow.text else wide.visible()


def tidy(text: str) -> str:
    """Strip line ends, write line breaks as `\\n`, and leave at most one blank line between paragraphs."""
    lines = (line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _size(text: str) -> int:
    return sum(len(word) for word in _NOT_SPACE.findall(text))


def _by_rules(root: HtmlElement, base: str, *, comments: bool) -> MainText:
    try:
        extracted = bare_extraction(
            root,
            url=base,
            output_format="markdown",
            include_comments=comments,
            include_formatting=True,
            include_links=True,
        )
    except EXTRACTOR_FAULTS:
        # Broken markup reaches corners of the library that do not expect it; the wider extractors take over.
        return MainText("", "")
    if not isinstance(extracted, Extracted):
        return MainText("", "")
    texts: list[str] = []
    markdowns: list[str] = []
    for body in (extracted.body, extracted.commentsbody):
        if body is None or not len(body):
            continue
        markdowns.append(xmltotxt(body, True))
        plain = deepcopy(body)
        strip_tags(plain, "ref", "hi", "del")
        texts.append(xmltotxt(plain, False))
    return MainText(tidy("\n".join(texts)), "\n\n".join(markdowns).strip())


class _Wide:
    """The two wider extractions, over one parse that is made only when one of them is asked for."""

    def __init__(self, html: str, base: str) -> None:
        self._html = html
        self._base = base
        self._tree: HTMLTree | None = None
        self._texts: dict[bool, str] = {}

    def main_text(self) -> str:
        return self._text(main=True)

    def visible_text(self) -> str:
        return self._text(main=False)

    def main(self) -> MainText:
        return MainText(self.main_text(), self._markdown(main=True))

    def visible(self) -> MainText:
        return MainText(self.visible_text(), self._markdown(main=False))

    def _parsed(self) -> HTMLTree:
        if self._tree is None:
            try:
                self._tree = HTMLTree.parse(self._html)
            except HTMLParserException as error:
                # Any text is HTML to this parser: it fails only where it is given no memory.
                raise MemoryError("no memory for the parsed page") from error
        return self._tree

    def _text(self, *, main: bool) -> str:
        if main not in self._texts:
            self._texts[main] = tidy(
                extract_plain_text(
                    self._parsed(),
                    preserve_formatting=True,
                    main_content=main,
                    list_bullets=False,
                    alt_texts=False,
                    skip_elements=_NAVIGATION if main else _CHROME,
                )
            )
        return self._texts[main]

    def _markdown(self, *, main: bool) -> str:
        reduced = extract_plain_text(
            self._parsed(),
            preserve_formatting="minimal_html",
            main_content=main,
            alt_texts=False,
            links=True,
            skip_elements=_NAVIGATION if main else _CHROME,
        )
        return render_reduced_html(reduced, self._base)
