"""Texts to the scalar a JSON Schema asks for: numbers as people write them, dates, addresses, yes and no."""

import re
from datetime import date

from cleaning.links import resolve
from cleaning.metadata import iso_date
from cleaning.structured_data import JsonObject, JsonValue
from cleaning.tree import collapse

MAX_TEXT_CHARACTERS = 100_000
_NUMBER = re.compile(r"[-+−]?\d(?:[\d.,'’  ]*\d)?")
_GROUPED = re.compile(r"\d{1,3}(?:([.,'’  ])\d{3})(?:\1\d{3})*(?!\d)")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ISO_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
_DAY_FIRST = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\.?\s+([A-Za-z]{3,9})\.?,?\s+(\d{4})")
_MONTH_FIRST = re.compile(r"([A-Za-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})")
_YES = re.compile(r"(?:true|yes|1|on|available|in ?stock|instock|onlineonly|limitedavailability|preorder)\b", re.I)
_NO = re.compile(
    r"(?:false|no|0|off|unavailable|not available|out ?of ?stock|outofstock|sold ?out|discontinued)\b", re.I
)
_INSIDE = ("name", "value", "text", "url", "@id", "price", "ratingValue", "amount", "contentUrl", "@value")


def as_text(value: JsonValue) -> str | None:
    """Return the text of a value; of an object its name, of a list its texts one after the other."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return collapse(value)[:MAX_TEXT_CHARACTERS] or None
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        texts = [text for item in value[:100] if (text := as_text(item))]
        return ", ".join(dict.fromkeys(texts)) or None
    if isinstance(value, dict):
        return next((text for name in _INSIDE if (text := as_text(value.get(name)))), None)
    return None


def as_number(value: JsonValue) -> float | int | None:
    """Return the first number of a value. `1.299,00 €` is 1299, `1,299.50` is 1299.5."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, dict):
        inner = ("value", "price", "lowPrice", "ratingValue", "amount", "reviewCount", "ratingCount", "minValue")
        return next((number for name in inner if (number := as_number(value.get(name))) is not None), None)
    if isinstance(value, list):
        return next((number for item in value[:100] if (number := as_number(item)) is not None), None)
    match = _NUMBER.search(value) if isinstance(value, str) else None
    return None if match is None else _number(match[0])


def as_whole(value: JsonValue) -> int | None:
    """Return the first number of a value if it is a whole one."""
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def as_flag(value: JsonValue) -> bool | None:
    """Return what a value says: yes, no, or nothing of the kind."""
    if isinstance(value, bool):
        return value
    text = (as_text(value) or "").rpartition("/")[2]
    if _NO.match(text):
        return False
    return True if _YES.match(text) else None


def as_date(value: JsonValue, *, with_time: bool) -> str | None:
    """Return an ISO 8601 date, or the moment as it is written in ISO 8601, of a text that holds one."""
    text = as_text(value) or ""
    if with_time:
        moment = _ISO_MOMENT.search(text)
        return moment[0].replace(" ", "T") if moment and len(moment[0]) > 10 else None
    if moment := _ISO_MOMENT.search(text):
        return iso_date(moment[0])
    if match := _DAY_FIRST.search(text):
        return _date(match[3], match[2], match[1])
    if match := _MONTH_FIRST.search(text):
        return _date(match[3], match[1], match[2])
    return None


def as_address(value: JsonValue, base: str) -> str | None:
    """Return an absolute http or https address; of an object its own."""
    if isinstance(value, dict):
        inner = ("url", "contentUrl", "@id", "href")
        return next((url for name in inner if (url := as_address(value.get(name), base))), None)
    if isinstance(value, list):
        return next((url for item in value[:100] if (url := as_address(item, base))), None)
    return resolve(value, base) if isinstance(value, str) and value.strip() and " " not in value.strip() else None


def as_email(value: JsonValue) -> str | None:
    """Return the first mail address of a text."""
    match = _EMAIL.search(as_text(value) or "")
    return match[0] if match else None


def as_one_of(value: JsonValue, allowed: list[JsonValue]) -> JsonValue:
    """Return the one of the values allowed that a value means, whatever its case; None for none of them."""
    if value in allowed and not isinstance(value, dict | list):
        return value
    text = _letters((as_text(value) or "").rpartition("/")[2])
    return next((choice for choice in allowed if isinstance(choice, str) and text and _letters(choice) == text), None)


def properties_of(value: JsonValue) -> JsonObject | None:
    """Return a value as an object, also the first of a list."""
    if isinstance(value, list):
        return next((item for item in value if isinstance(item, dict)), None)
    return value if isinstance(value, dict) else None


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _number(text: str) -> float | int | None:
    sign = -1 if text[0] in "-−" else 1
    digits = re.sub(r"[ '’  ]", "", text.lstrip("+-−"))
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma >= 0 and point >= 0:
        decimal = "," if comma > point else "."
    else:
        mark = "," if comma >= 0 else "."
        decimal = "" if _GROUPED.fullmatch(digits) and (mark == "," or digits.count(".") > 1) else mark
        if digits.count(mark) > 1:
            decimal = ""
    whole = digits.replace("." if decimal == "," else ",", "")
    whole = whole.replace(decimal, ".") if decimal else whole.replace(".", "")
    try:
        number = sign * float(whole)
    except ValueError:
        return None
    if abs(number) > 2**53:
        return None
    return int(number) if number == int(number) else number


def _date(year: str, month: str, day: str) -> str | None:
    number = _MONTHS.get(month[:3].lower())
    try:
        return date(int(year), number, int(day)).isoformat() if number else None
    except ValueError:
        return None
