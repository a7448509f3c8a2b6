"""A page's tree to CommonMark with tables: everything it shows, in page order."""

import re

from lxml.html import HtmlElement

from cleaning.markdown import MAX_LIST_DEPTH, escape_block, escape_inline, fence, link_target
from cleaning.page_scope import REMOVED_IMAGE
from cleaning.tree import collapse, text_of

MAX_CELL_CHARACTERS = 5_000
_CARD = 300
"""A link around blocks stays a link where its text is this short."""
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_EMPHASIS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~"}
_HIDDEN = frozenset({"script", "style", "template", "noscript", "head", "svg", "math", "select", "option", "textarea"})
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "body", "center", "details", "dialog", "dd", "div", "dl", "dt", "fieldset",
        "figcaption", "figure", "footer", "form", "header", "hgroup", "html", "legend", "main", "nav", "p", "search",
        "section", "summary", "tr", "td", "th", "tbody", "thead", "tfoot", "caption", "li",
    }
)  # fmt: skip
_OWN_BLOCKS = frozenset({*_HEADINGS, "ul", "ol", "menu", "pre", "blockquote", "table", "hr"})
_SPACES = re.compile(r"[ \t\r\n\f]+")
_LIST_START = re.compile(r"(?:-|\d+\.) ")


def render_page(root: HtmlElement) -> str:
    """Render a tree whose addresses are absolute already."""
    return "\n\n".join(block for block in _blocks(root, 0) if block)


def _blocks(element: HtmlElement, depth: int) -> list[str]:
    """Render what stands inside an element as blocks; text between block elements forms paragraphs."""
    blocks: list[str] = []
    loose: list[str] = [_text(element.text)]

    def flush() -> None:
        paragraph = _paragraph("".join(loose))
        loose.clear()
        if paragraph:
            blocks.append(escape_block(paragraph))

    for child in element:
        tag = child.tag
        if isinstance(tag, str) and tag not in _HIDDEN:
            if tag in _OWN_BLOCKS:
                flush()
                blocks.append(_own_block(child, tag, depth))
            elif tag == "a" and _holds_blocks(child) and child.get("href") and 0 < len(card := _words(child)) <= _CARD:
                flush()
                blocks.append(f"[{escape_inline(card)}]({link_target(child.get('href'))})")
            elif tag in _BLOCKS or _holds_blocks(child):
                flush()
                blocks.extend(_blocks(child, depth))
            else:
                loose.append(_inline(child))
        loose.append(_text(child.tail))
    flush()
    return [block for block in blocks if block]


def _own_block(element: HtmlElement, tag: str, depth: int) -> str:
    if tag in _HEADINGS:
        line = collapse(_inside(element))
        return f"{_HEADINGS[tag]} {line}" if line else ""
    if tag == "pre":
        return fence("".join(element.itertext()))
    if tag == "hr":
        return "---"
    if tag == "table":
        return _table(element)
    if tag == "blockquote":
        inner = "\n\n".join(_blocks(element, depth))
        return "\n".join(f"> {line}".rstrip() for line in inner.split("\n")) if inner else ""
    return _list(element, depth)


def _holds_blocks(element: HtmlElement) -> bool:
    """Tell whether an inline element wraps blocks, as a link around a whole card does."""
    return any(inner.tag in _BLOCKS or inner.tag in _OWN_BLOCKS for inner in element.iterdescendants())


def _words(element: HtmlElement) -> str:
    return text_of(element, limit=2 * _CARD)


def _list(element: HtmlElement, depth: int) -> str:
    if depth >= MAX_LIST_DEPTH:
        return escape_block(text_of(element, limit=MAX_CELL_CHARACTERS))
    items: list[str] = []
    number = int(start) if (start := element.get("start") or "1").isdecimal() and len(start) < 6 else 1
    for item in element:
        if not isinstance(item.tag, str) or item.tag in _HIDDEN:
            continue
        blocks = [_own_block(item, item.tag, depth + 1)] if item.tag in _OWN_BLOCKS else _blocks(item, depth + 1)
        if not any(blocks):
            continue
        mark = f"{number}. " if element.tag == "ol" else "- "
        number += 1
        joined = blocks[0]
        for block in blocks[1:]:
            joined += f"\n{block}" if _LIST_START.match(block) else f"\n\n{block}"
        lines = joined.split("\n")
        rest = [f"{' ' * len(mark)}{line}".rstrip() for line in lines[1:]]
        items.append("\n".join([f"{mark}{lines[0]}", *rest]))
    return "\n".join(items)


def _table(element: HtmlElement) -> str:
    rows: list[list[str]] = []
    has_head = False
    for row in element.iter("tr"):
        if next(row.iterancestors("table"), None) is not element:
            continue
        cells = [cell for cell in row if cell.tag in {"td", "th"}]
        if not cells:
            continue
        if not rows:
            has_head = all(cell.tag == "th" for cell in cells)
        rows.append([_cell(cell) for cell in cells])
    width = max((len(row) for row in rows), default=0)
    if width < 2 or (element.get("role") or "").lower() in {"presentation", "none"}:
        return "\n\n".join(block for row in _cells(element) for block in _blocks(row, 0))
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    head = padded.pop(0) if has_head else [""] * width
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * width, *padded])


def _cells(table: HtmlElement) -> list[HtmlElement]:
    return [cell for cell in table.iter("td", "th") if next(cell.iterancestors("table"), None) is table]


def _cell(cell: HtmlElement) -> str:
    text = collapse(_inside(cell))[:MAX_CELL_CHARACTERS]
    return text.replace("|", "\\|")


def _inside(element: HtmlElement) -> str:
    parts = [_text(element.text)]
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _HIDDEN:
            parts.append(_inline(child))
            if child.tag in _BLOCKS or child.tag in _OWN_BLOCKS:
                parts.append(" ")
        parts.append(_text(child.tail))
    return "".join(parts)


def _inline(element: HtmlElement) -> str:
    tag = element.tag
    if tag == "br":
        return "\n"
    if tag == "img":
        return _image(element)
    if tag in {"code", "kbd", "samp", "tt"}:
        code = collapse("".join(element.itertext()))
        return (f"`{code}`" if "`" not in code else f"`` {code} ``") if code else ""
    inner = _inside(element)
    words = inner.strip()
    if not words:
        return inner
    before, after = inner[: len(inner) - len(inner.lstrip())], inner[len(inner.rstrip()) :]
    if tag == "a" and (target := element.get("href")):
        return f"{before}[{collapse(words)}]({link_target(target)}){after}"
    if mark := _EMPHASIS.get(tag):
        return f"{before}{mark}{words}{mark}{after}" if "\n" not in words and mark not in words else inner
    return inner


def _image(element: HtmlElement) -> str:
    source = element.get("src") or ""
    alt = escape_inline(collapse(element.get("alt") or ""))
    if not source:
        return alt
    return f"![{alt}]({source if source == REMOVED_IMAGE else link_target(source)})"


def _text(text: str | None) -> str:
    return escape_inline(_SPACES.sub(" ", text)) if text else ""


def _paragraph(text: str) -> str:
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return "\\\n".join(line for line in lines if line)
