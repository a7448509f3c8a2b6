"""What a model is asked of a page, where the operator configured one: values for a prompt, a summary.

The port is `Model`. A model that fails costs a page nothing but what it was asked for: the lab is told.
"""

from typing import Protocol

import msgspec
from msgspec.structs import replace

from cleaning.document import Document, Extract
from cleaning.json_schema import faults_of
from cleaning.structured_data import JsonValue
from dispatcher.errors import ModelError
from dispatcher.jobs import ScrapeOptions
from dispatcher.page_formats import NO_MODEL

MAX_PAGE_CHARACTERS = 200_000
"""A model is given so much of a page at most."""
_SHOWN = 5


class Model(Protocol):
    """The port. Raises ModelError where the model cannot be had, or answers something else than it was asked for."""

    async def values(self, page: str, *, prompt: str, schema: str | None) -> str:
        """Return JSON text: what the prompt asks of a page, in the form of a JSON Schema text where there is one."""
        ...

    async def summary(self, page: str) -> str:
        """Return a short summary of a page as plain text."""
        ...


async def with_model(document: Document, options: ScrapeOptions, model: Model | None) -> Document:
    """Return a document with what a model makes of it; with a warning for each part that is not to be had."""
    extract = document.extract or Extract()
    scoped = extract.markdown
    page = (document.markdown if scoped is None else scoped)[:MAX_PAGE_CHARACTERS]
    warnings = list(extract.warnings)
    wanted = options.json
    if wanted is not None and wanted.prompt is not None:
        try:
            text = await _of(model).values(page, prompt=wanted.prompt, schema=wanted.schema)
            value: JsonValue = msgspec.json.decode(text)
            faults = faults_of(wanted.schema, value) if wanted.schema is not None else ()
            extract = replace(extract, json=text)
            if faults:
                warnings.append(f"json: the model's answer does not match the schema: {'; '.join(faults[:_SHOWN])}")
        except (ModelError, msgspec.DecodeError) as error:
            warnings.append(f"json is left out: {error}")
    if "summary" in options.formats:
        try:
            extract = replace(extract, summary=await _of(model).summary(page))
        except ModelError as error:
            warnings.append(f"summary is left out: {error}")
    return replace(document, extract=replace(extract, warnings=tuple(warnings)))


def _of(model: Model | None) -> Model:
    if model is None:
        raise ModelError(NO_MODEL)
    return model
