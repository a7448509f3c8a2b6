"""Elements of a page that are alike, as the cards of a list of products, and what each of them shows."""

from collections.abc import Sequence

from lxml.html import HtmlElement

from cleaning.page_facts import marked_in
from cleaning.property_names import meanings
from cleaning.structured_data import JsonValue
from cleaning.tree import text_of


def shown_by(card: HtmlElement, keys: tuple[str, ...]) -> Sequence[JsonValue]:
    """What one of several similar elements shows without naming it: its heading, link, picture, moment."""
    if "name" in keys:
        headings = [*card.iter("h1", "h2", "h3", "h4", "h5", "h6"), *card.iter("a")]
        texts = (heading.get("title") or text_of(heading, limit=500) for heading in headings[:5])
        return [str(text) for text in texts if text]
    if "url" in keys:
        own = [card] if card.tag == "a" else []
        return [link.get("href") for link in [*own, *card.iter("a")] if link.get("href")][:1]
    if "image" in keys:
        return [image.get("src") for image in card.iter("img") if image.get("src")][:1]
    if "datepublished" in keys:
        return [moment.get("datetime") or text_of(moment, limit=100) for moment in card.iter("time")][:1]
    if "description" in keys:
        return [text for paragraph in card.iter("p") if (text := text_of(paragraph, limit=2_000))][:1]
    return []


def card_groups(root: HtmlElement, wanted: list[str]) -> list[list[HtmlElement]]:
    """Return groups of siblings with the same tag and first class, those first that show most of what is wanted."""
    groups: dict[tuple[HtmlElement, str, str], list[HtmlElement]] = {}
    for element in root.iter("li", "article", "div", "section", "tr", "a"):
        parent = element.getparent()
        if (
            parent is None
            or element is root
            or next(element.iterancestors("nav", "footer", "header"), None) is not None
        ):
            continue
        classes = (element.get("class") or "").split()
        groups.setdefault((parent, element.tag, classes[0] if classes else ""), []).append(element)
    alike = [cards for cards in groups.values() if len(cards) >= 2]
    return sorted(alike, key=lambda cards: -card_share(cards[0], wanted) * min(len(cards), 10))[:8]


def card_share(card: HtmlElement, wanted: list[str]) -> float:
    """Return the share of the properties that an element shows; 0 for a large part of the page."""
    if not wanted or sum(1 for _ in zip(card.iter(), range(400), strict=False)) == 400:
        return 0.0
    marks = marked_in(card)
    found = 0.0
    for name in wanted:
        keys = meanings(name)
        if any(key in marks for key in keys):
            found += 1
        elif shown_by(card, keys):
            found += 0.7
    return found / len(wanted)
