"""Reduced HTML (headings, paragraphs, lists, preformatted text, links) to CommonMark."""

import re

from lxml.html import HtmlElement

from cleaning.links import resolve
from cleaning.tree import parse_html

MAX_LIST_DEPTH = 20

_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_WHITE_SPACE = re.compile(r"\s+")
# Characters that start inline markup (CommonMark 0.31, section 6); an underscore inside a word starts none.
_INLINE = re.compile(r"[\\`*\[\]<]|(?<!\w)_|_(?!\w)")
# A line that would open a block (CommonMark 0.31, sections 4 and 5).
_BLOCK_START = re.compile(r"(?m)^(#{1,6}(?=\s|$)|>|[-+](?=\s|$)|={3,}$|-{3,}$|~{3,})|^(\d{1,9})([.)])(?=\s|$)")
_BACKTICKS = re.compile(r"`+")


def render_reduced_html(html: str, base: str) -> str:
    """Render the HTML that resiliparse reduces a page to. Links are made absolute, and kept only when http or https."""
    root = parse_html(f"<div>{html}</div>")
    if root is None:
        return ""
    renderer = _Renderer(base)
    renderer.visit(root)
    return renderer.finish()


class _Renderer:
    """Collects blocks; text that stands outside any block element forms paragraphs, split at its blank lines."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._blocks: list[str] = []
        self._loose: list[str] = []

    def visit(self, element: HtmlElement) -> None:
        tag = element.tag
        if not isinstance(tag, str):
            return
        if tag in _HEADINGS:
            self._block(f"{_HEADINGS[tag]} {self._line(element)}" if self._line(element) else "")
        elif tag == "p":
            self._block(escape_block(self._lines(element)))
        elif tag == "pre":
            self._block(fence("".join(element.itertext())))
        elif tag in {"ul", "ol"}:
            self._block("\n".join(self._list(element, 0)))
        elif tag in {"a", "br"}:
            self._loose.append(self._inline(element))
        else:
            self._loose.append(escape_inline(element.text or ""))
            for child in element:
                self.visit(child)
                self._loose.append(escape_inline(child.tail or ""))

    def finish(self) -> str:
        self._flush()
        return "\n\n".join(self._blocks)

    def _block(self, text: str) -> None:
        self._flush()
        if text.strip():
            self._blocks.append(text)

    def _flush(self) -> None:
        loose, self._loose = "".join(self._loose), []
        for paragraph in re.split(r"\n\s*\n", loose):
            lines = [_WHITE_SPACE.sub(" ", line).strip() for line in paragraph.split("\n")]
            text = "  \n".join(line for line in lines if line)
            if text:
                self._blocks.append(escape_block(text))

    def _list(self, element: HtmlElement, depth: int) -> list[str]:
        lines: list[str] = []
        indent = "    " * min(depth, MAX_LIST_DEPTH)
        number = 0
        for item in element:
            if item.tag in {"ul", "ol"}:
                lines.extend(self._list(item, depth + 1))
                continue
            if item.tag != "li":
                continue
            number += 1
            marker = f"{number}." if element.tag == "ol" else "-"
            text = escape_block(_WHITE_SPACE.sub(" ", self._content(item, skip_lists=True)).strip())
            if text:
                lines.append(f"{indent}{marker} {text}")
            for child in item:
                if child.tag in {"ul", "ol"}:
                    lines.extend(self._list(child, depth + 1))
        return lines

    def _line(self, element: HtmlElement) -> str:
        return _WHITE_SPACE.sub(" ", self._content(element)).strip()

    def _lines(self, element: HtmlElement) -> str:
        lines = (_WHITE_SPACE.sub(" ", line).strip() for line in self._content(element).split("\n"))
        return "  \n".join(line for line in lines if line)

    def _content(self, element: HtmlElement, *, skip_lists: bool = False) -> str:
        parts = [escape_inline(element.text or "")]
        for child in element:
            if not (skip_lists and child.tag in {"ul", "ol"}):
                parts.append(self._inline(child))
            parts.append(escape_inline(child.tail or ""))
        return "".join(parts)

    def _inline(self, element: HtmlElement) -> str:
        if element.tag == "br":
            return "\n"
        content = self._content(element)
        if element.tag != "a":
            return f" {content} " if isinstance(element.tag, str) else ""
        label = _WHITE_SPACE.sub(" ", content).strip()
        target = resolve(element.get("href") or "", self._base)
        if not label or target is None:
            return content
        return f"[{label}]({link_target(target)})"


def escape_inline(text: str) -> str:
    """Escape what would read as inline markup."""
    return _INLINE.sub(lambda match: f"\\{match[0]}", text)


def escape_block(text: str) -> str:
    """Escape line starts that would read as a heading, quote, list, rule or fence."""
    return _BLOCK_START.sub(lambda match: f"{match[2]}\\{match[3]}" if match[2] else f"\\{match[1]}", text)


def link_target(url: str) -> str:
    """Write a normalised URL as a link destination: parentheses would end it."""
    return url.replace("(", "%28").replace(")", "%29")


def fence(code: str) -> str:
    """Write a fenced code block, its fence longer than any run of backticks inside."""
    code = code.strip("\n")
    if not code.strip():
        return ""
    longest = max((len(run) for run in _BACKTICKS.findall(code)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}\n{code}\n{marks}"
