"""The `formats` of a request: which forms of a page a lab wants, each as a name or as an object with its options."""

from typing import Final

import msgspec

from cleaning.json_schema import schema_fault
from cleaning.selectors import selector_fault
from cleaning.wants import AttributeWant
from dispatcher.request_fields import JsonObject, JsonValue, Problem, shown
from dispatcher.screenshot_format import NO_BROWSER, ScreenshotFormat, read_screenshot

FORMATS: Final = (
    "markdown", "html", "rawHtml", "links", "images", "attributes", "json", "changeTracking", "summary", "screenshot"
)  # fmt: skip
MAX_PROMPT_CHARACTERS: Final = 10_000
MAX_ATTRIBUTE_SELECTORS: Final = 100
MAX_TAG_CHARACTERS: Final = 200
MODEL_SETTINGS: Final = "MEADOW_MODEL_URL and MEADOW_MODEL_NAME (and MEADOW_MODEL_KEY where it needs one)"
NO_MODEL: Final = f"this network has no model: its operator sets {MODEL_SETTINGS}"
FULL_PAGE: Final = "screenshot@fullPage"
"""Another name of the format `screenshot`, of the whole page; `FORMATS` does not list it."""
_SINGLE: Final = frozenset({"json", "changeTracking", "attributes", "screenshot"})
_REFUSED: Final = {
    "branding": "branding profiles are taken from a rendered page, and pages are read without a browser",
    "deterministicJson": "json with a schema is deterministic here",
    "extract": "it is called json",
    "product": "json with a schema fills what a page states of a product",
    "menu": "json with a schema fills what a page states of a menu",
    "question": "questions about pages are not answered; json takes a prompt",
    "highlights": "passages are not picked out; markdown holds them all",
    "query": "questions about pages are not answered; json takes a prompt",
    "audio": "sound is not taken out of pages",
    "video": "films are not taken out of pages",
}


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Values of a page: what matches the JSON Schema text `schema`, what a model makes of `prompt`, or both."""

    schema: str | None = None
    prompt: str | None = None


class TrackingFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Changes since the version of the page that the team tracked last under the same `tag`: line by line (`diff`), by
    the values that match the JSON Schema text `schema` (`values`)."""

    diff: bool = False
    values: bool = False
    tag: str | None = None
    schema: str | None = None


class PageFormats(msgspec.Struct, frozen=True, kw_only=True):
    """The formats of a request: their names in the lab's order, each once, and the options of those that have some."""

    names: tuple[str, ...] = ("markdown",)
    json: JsonFormat | None = None
    tracking: TrackingFormat | None = None
    attributes: tuple[AttributeWant, ...] = ()
    screenshot: ScreenshotFormat | None = None


class _Reading:
    """Owns what is read of a list of formats."""

    def __init__(self, *, has_model: bool, has_browser: bool) -> None:
        self.has_model, self.has_browser = has_model, has_browser
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.json: JsonFormat | None = None
        self.tracking: TrackingFormat | None = None
        self.attributes: list[AttributeWant] = []
        self.screenshot: ScreenshotFormat | None = None

    def refuse(self, field: str, got: JsonValue, accepts: str, reason: str | None = None) -> None:
        self.problems.append(Problem(field, shown(got), accepts, reason))


def decode_formats(
    wanted: JsonValue, *, has_model: bool, has_browser: bool = False
) -> tuple[PageFormats, list[Problem], list[str]]:
    """Read the field `formats`; what is wrong with it, and warnings. `has_model` and `has_browser` tell whether there
    is a model, and a browser to take pictures with."""
    reading = _Reading(has_model=has_model, has_browser=has_browser)
    accepts = " or ".join(FORMATS)
    if wanted is None:
        return PageFormats(), [], []
    if not isinstance(wanted, list) or not wanted:
        reading.refuse("formats", wanted, f"a list of {accepts}")
        return PageFormats(), reading.problems, []
    names: dict[str, None] = {}
    for place, entry in enumerate(wanted):
        field = f"formats[{place}]"
        name = entry.get("type") if isinstance(entry, dict) else entry
        is_whole_page = name == FULL_PAGE
        name = "screenshot" if is_whole_page else name
        if not isinstance(name, str) or name not in FORMATS:
            reading.refuse(field, entry, accepts, _REFUSED.get(name) if isinstance(name, str) else None)
        elif name in names and name in _SINGLE:
            reading.refuse(field, entry, f"one format of the type {name}")
        else:
            names[name] = None
            options = entry if isinstance(entry, dict) else {}
            given: JsonObject = {key: value for key, value in options.items() if value is not None and key != "type"}
            if name == "screenshot":
                _read_screenshot(reading, field, entry, given, is_whole_page=is_whole_page)
            else:
                _read_entry(reading, field, name, given)
    formats = PageFormats(
        names=tuple(names),
        json=reading.json,
        tracking=reading.tracking,
        attributes=tuple(reading.attributes),
        screenshot=reading.screenshot,
    )
    return formats, reading.problems, reading.warnings


def _read_entry(reading: _Reading, field: str, name: str, given: JsonObject) -> None:
    known = {
        "json": {"schema", "prompt"},
        "changeTracking": {"modes", "tag", "schema", "prompt"},
        "attributes": {"selectors"},
    }.get(name, set())
    for key in given.keys() - known:
        reading.refuse(f"{field}.{key[:100]}", given[key], "nothing", f"{name} has no such option")
    if name == "json":
        _read_json(reading, field, given)
    elif name == "changeTracking":
        _read_tracking(reading, field, given)
    elif name == "attributes":
        _read_attributes(reading, field, given.get("selectors"))
    elif name == "summary" and not reading.has_model:
        reading.refuse(field, name, "formats that need no model", f"a summary is made by a model; {NO_MODEL}")


def _read_screenshot(
    reading: _Reading, field: str, entry: JsonValue, given: JsonObject, *, is_whole_page: bool
) -> None:
    for key in given.keys() - {"fullPage", "quality", "viewport"}:
        reading.refuse(f"{field}.{key[:100]}", given[key], "nothing", "screenshot has no such option")
    wanted, faults = read_screenshot(given, full_page=is_whole_page)
    for fault in faults:
        reading.refuse(f"{field}.{fault.option}", fault.got, fault.accepts)
    if not reading.has_browser:
        reading.refuse(field, entry, "formats that need no browser", NO_BROWSER)
    reading.screenshot = wanted


def _read_json(reading: _Reading, field: str, given: JsonObject) -> None:
    schema = _schema(reading, f"{field}.schema", given.get("schema"))
    prompt = _prompt(reading, f"{field}.prompt", given.get("prompt"))
    if "schema" not in given and "prompt" not in given:
        reading.refuse(field, given, "an object with a schema, a prompt or both")
    elif prompt is not None and not reading.has_model:
        if "schema" not in given:
            reading.refuse(
                f"{field}.prompt", prompt, "a schema in its place", f"a prompt is answered by a model; {NO_MODEL}"
            )
        else:
            reading.warnings.append(f"{field}.prompt is not used: {NO_MODEL}; the schema is filled without a model")
    reading.json = JsonFormat(schema=schema, prompt=prompt if reading.has_model else None)


def _read_tracking(reading: _Reading, field: str, given: JsonObject) -> None:
    modes, tag = given.get("modes", []), given.get("tag")
    wanted = modes if isinstance(modes, list) else [modes]
    if not isinstance(modes, list) or any(mode not in ("git-diff", "json") for mode in modes):
        reading.refuse(f"{field}.modes", modes, 'a list of "git-diff" or "json"')
    if tag is not None and (not isinstance(tag, str) or not 0 < len(tag) <= MAX_TAG_CHARACTERS):
        reading.refuse(f"{field}.tag", tag, f"a string of 1 to {MAX_TAG_CHARACTERS} characters")
        tag = None
    schema = _schema(reading, f"{field}.schema", given.get("schema"))
    if "json" in wanted and "schema" not in given:
        reading.refuse(f"{field}.schema", "nothing", "a JSON Schema", "mode json compares the values that match it")
    if "prompt" in given:
        reason = "changes are told without a model: mode json compares the values that match the schema"
        reading.refuse(f"{field}.prompt", given["prompt"], "nothing", reason)
    reading.tracking = TrackingFormat(
        diff="git-diff" in wanted, values="json" in wanted, tag=tag if isinstance(tag, str) else None, schema=schema
    )


def _read_attributes(reading: _Reading, field: str, selectors: JsonValue) -> None:
    accepts = f"a list of 1 to {MAX_ATTRIBUTE_SELECTORS} objects with a selector and an attribute"
    if not isinstance(selectors, list) or not 0 < len(selectors) <= MAX_ATTRIBUTE_SELECTORS:
        reading.refuse(f"{field}.selectors", selectors, accepts)
        return
    for place, entry in enumerate(selectors):
        where = f"{field}.selectors[{place}]"
        selector, attribute = (
            (entry.get("selector"), entry.get("attribute")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(entry, dict) or entry.keys() - {"selector", "attribute"}:
            reading.refuse(where, entry, "an object with a selector and an attribute")
        elif not isinstance(attribute, str) or not 0 < len(attribute) <= MAX_TAG_CHARACTERS:
            reading.refuse(f"{where}.attribute", attribute, "the name of an attribute")
        elif (fault := selector_fault(selector) if isinstance(selector, str) else "it is no string") is not None:
            reading.refuse(f"{where}.selector", selector, "a CSS selector", fault)
        else:
            reading.attributes.append(AttributeWant(str(selector), attribute.lower()))


def _schema(reading: _Reading, field: str, schema: JsonValue) -> str | None:
    if schema is None:
        return None
    if (fault := schema_fault(schema)) is not None:
        reading.refuse(field, schema, "a JSON Schema that names properties", fault)
        return None
    return msgspec.json.encode(schema).decode()


def _prompt(reading: _Reading, field: str, prompt: JsonValue) -> str | None:
    if prompt is None:
        return None
    if isinstance(prompt, str) and 0 < len(prompt.strip()) <= MAX_PROMPT_CHARACTERS:
        return prompt
    reading.refuse(field, prompt, f"a string of 1 to {MAX_PROMPT_CHARACTERS} characters")
    return None
