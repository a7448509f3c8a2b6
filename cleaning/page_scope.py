"""The part of a page that a lab asked for, as a tree of its own: without scripts, addresses written out in full."""

from copy import deepcopy

from lxml.etree import tostring
from lxml.html import HtmlElement

from cleaning.images import candidates
from cleaning.links import resolve
from cleaning.selectors import find_all
from cleaning.wants import Wants

REMOVED_IMAGE = "<Base64-Image-Removed>"
_NEVER_SHOWN = frozenset(
    {"script", "style", "template", "noscript", "object", "embed", "applet", "link", "meta", "base"}
)
_FRAME_TAGS = frozenset({"nav", "footer", "aside", "dialog"})
_FRAME_ROLES = frozenset({"navigation", "banner", "contentinfo", "complementary", "search", "dialog"})
_ADDRESSES = frozenset({"href", "src", "action", "formaction", "cite", "poster", "background", "data", "longdesc"})
_DROPPED = frozenset({"style", "nonce", "integrity", "srcdoc", "ping"})
_SAFE_SCHEMES = ("mailto:", "tel:", "#")


def scoped(root: HtmlElement, base: str, wants: Wants, *, main_only: bool) -> HtmlElement:
    """Return a copy of the page's body, or of the elements that `wants.include` finds, one after the other.

    What `wants.exclude` finds is taken away, and with `main_only` and no `include` the page's frame too: navigation,
    headers, footers, asides and dialogs. `root` is left unchanged.
    """
    tree: HtmlElement = deepcopy(root)
    excluded = find_all(tree, wants.exclude)
    if wants.include:
        chosen = _outermost(find_all(tree, wants.include))
        for element in excluded:
            _take_away(element)
        body: HtmlElement = tree.makeelement("body")
        for element in chosen:
            if element not in excluded:
                element.tail = None
                body.append(element)
    else:
        for element in [*excluded, *(_frame(tree) if main_only else [])]:
            _take_away(element)
        found: HtmlElement | None = tree.find("body")
        body = tree if found is None else found
    _clean(body, base, keep_inline=wants.keep_inline_images)
    return body


def reduced(root: HtmlElement, exclude: tuple[str, ...]) -> HtmlElement:
    """Return a copy of a page without what the selectors find."""
    tree: HtmlElement = deepcopy(root)
    for element in find_all(tree, exclude):
        _take_away(element)
    return tree


def to_html(element: HtmlElement) -> str:
    """Write a tree as HTML text; of a `body`, what stands inside it."""
    text = tostring(element, encoding="unicode", method="html", with_tail=False)
    if element.tag == "body":
        start = text.index(">") + 1
        text = text[start:].removesuffix("</body>")
    return str(text).strip()


def _frame(tree: HtmlElement) -> list[HtmlElement]:
    """Return what stands around the content. A header inside `main` or an article belongs to it."""
    return [
        element
        for element in tree.iter()
        if element.tag in _FRAME_TAGS
        or (element.get("role") or "").lower() in _FRAME_ROLES
        or (element.tag == "header" and next(element.iterancestors("main", "article"), None) is None)
    ]


def _outermost(elements: list[HtmlElement]) -> list[HtmlElement]:
    chosen = set(elements)
    return [element for element in elements if not any(above in chosen for above in element.iterancestors())]


def _take_away(element: HtmlElement) -> None:
    """Remove an element and all in it; the text behind it stays."""
    parent = element.getparent()
    if parent is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
    element.tail = None
    parent.remove(element)


def _clean(body: HtmlElement, base: str, *, keep_inline: bool) -> None:
    for element in [element for element in body.iter() if element.tag in _NEVER_SHOWN and element is not body]:
        _take_away(element)
    for element in body.iter():
        if not isinstance(element.tag, str):
            continue
        for name in list(element.attrib):
            if name.startswith("on") or name in _DROPPED or ":" in name:
                del element.attrib[name]
            elif name in _ADDRESSES:
                _write_out(element, name, element.get(name).strip(), base, keep_inline=keep_inline)
        if (srcset := element.get("srcset")) is not None:
            found = [url for reference in candidates(srcset) if (url := resolve(reference, base))]
            if found:
                element.attrib["srcset"] = ", ".join(found)
            else:
                del element.attrib["srcset"]


def _write_out(element: HtmlElement, name: str, written: str, base: str, *, keep_inline: bool) -> None:
    is_inline = written[:11].lower() == "data:image/"
    if is_inline and name == "src":
        if not keep_inline:
            element.attrib[name] = REMOVED_IMAGE
        return
    if written.lower().startswith(_SAFE_SCHEMES):
        return
    target = resolve(written, base)
    if target is None:
        del element.attrib[name]
    else:
        element.attrib[name] = target
