"""CSS selectors, as labs write them: compiled, or refused with the reason. A tag name is a selector."""

from functools import lru_cache

from cssselect import ExpressionError, HTMLTranslator, SelectorError, SelectorSyntaxError
from lxml.etree import XPath, XPathError
from lxml.html import HtmlElement

MAX_SELECTOR_CHARACTERS = 500
_translator = HTMLTranslator()


def selector_fault(selector: str) -> str | None:
    """Say what is wrong with a selector; None for one that can be used."""
    if not selector.strip():
        return "it is empty"
    if len(selector) > MAX_SELECTOR_CHARACTERS:
        return f"it is longer than {MAX_SELECTOR_CHARACTERS} characters"
    if any(ord(character) < 32 and character not in "\t\n" for character in selector):
        return "it holds control characters"
    try:
        _compiled(selector)
    except SelectorSyntaxError as error:
        return f"it is no CSS selector: {error}"
    except (ExpressionError, SelectorError, XPathError) as error:
        return f"this selector is not known here: {error}"
    except (RecursionError, ValueError):
        return "it is nested too deeply, or holds characters no selector has"
    return None


def find_all(root: HtmlElement, selectors: tuple[str, ...]) -> list[HtmlElement]:
    """Return the elements that any of the selectors finds, each once, in page order. The selectors are sound."""
    if not selectors:
        return []
    found: dict[HtmlElement, None] = {}
    for selector in selectors:
        found.update(dict.fromkeys(_compiled(selector)(root)))
    return [element for element in root.iter() if element in found] if len(selectors) > 1 else list(found)


@lru_cache(maxsize=1_000)
def _compiled(selector: str) -> XPath:
    return XPath(_translator.css_to_xpath(selector))
