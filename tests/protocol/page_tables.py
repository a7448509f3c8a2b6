"""What the tables of PROTOCOL.md must say, read from the code: field rows, types, codes, limits, transitions."""

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from protocol import dataset, errors, field_types, job, limits, messages, record

STRUCTS: tuple[type[msgspec.Struct], ...] = (
    job.Certificate,
    job.Job,
    record.Record,
    messages.Challenge,
    messages.Welcome,
    messages.HopVerdict,
    messages.Ack,
    messages.Cancel,
    messages.Pong,
    messages.Balance,
    messages.Reputation,
    messages.ReputationPart,
    messages.Drain,
    messages.Accept,
    messages.Refuse,
    messages.Failure,
    messages.Hop,
    messages.Availability,
    messages.Ping,
    messages.SessionError,
    messages.Hello,
    dataset.RowContent,
    dataset.RowLink,
    dataset.RowTable,
    dataset.RowProvenance,
    dataset.DatasetStatement,
    dataset.Manifest,
)
"""In the order of the page."""

BOUNDED: dict[str, object] = {
    "uint": field_types.Uint,
    "uuid7": field_types.Uuid7Text,
    "key": field_types.PublicKeyText,
    "sha256": field_types.Sha256Text,
    "wallet": field_types.WalletText,
    "country": field_types.CountryText,
    "header": field_types.HeaderText,
    "agent": field_types.AgentText,
    "url": field_types.UrlText,
    "count": field_types.JobCount,
    "score": field_types.ReputationScore,
    "status": record.Status,
}
NAMED: tuple[tuple[object, str], ...] = (
    *((annotation, f"`{word}`") for word, annotation in BOUNDED.items()),
    (job.Purpose, "purpose"),
    (job.Mode, "mode"),
    (record.ContentEncoding, "encoding"),
    (messages.RefusalCode, "refusal code"),
    (messages.FailureCode, "failure code"),
    (messages.ReputationPart, "part"),
    (record.Header, "header pair"),
    (dataset.RowLink, "link"),
    (dataset.RowTable, "table"),
    (dataset.RowProvenance, "provenance"),
    (dataset.ManifestFile, "file: `name`, `bytes`, `sha256`, `rows`"),
    (dataset.DroppedInput, "drop: `url`, `reason`, `detail`"),
    (str, "`text`"),
    (int, "`int`"),
    (bool, "`bool`"),
)


def words(annotation: Any) -> str:
    """Return how the page names a type."""
    for named, word in NAMED:
        if annotation == named:
            return word
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        (meta,) = arguments[1:]
        bound = f"at most {meta.max_length} " if isinstance(annotation.__origin__, types.GenericAlias) else ""
        if not bound:
            return f"{words(arguments[0])} of at most {meta.max_length} characters"
        return words(arguments[0]).replace("list of ", f"list of {bound}", 1)
    if origin is tuple:
        return f"list of {words(arguments[0])}"
    if origin is dict:
        return f"object of {words(arguments[1])}"
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (types.UnionType, Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return f"{words(inner)} or null"
    raise TypeError(f"the page has no word for {annotation!r}")


def field_rows(struct: type[msgspec.Struct]) -> list[tuple[str, str, str]]:
    """Return name, type and default of each field, as the page writes them."""
    hints = get_type_hints(struct, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(struct):
        default = "required"
        if field.default is not msgspec.NODEFAULT:
            default = f"`{msgspec.json.encode(field.default).decode()}`"
        elif field.default_factory is not msgspec.NODEFAULT:
            default = f"`{msgspec.json.encode(field.default_factory()).decode()}`"
        rows.append((field.encode_name, words(hints[field.name]), default))
    return rows


def type_rows() -> list[tuple[str, str]]:
    """Return each bounded type's word and bounds."""
    rows = []
    for word, annotation in BOUNDED.items():
        (meta,) = get_args(annotation)[1:]
        if meta.ge is not None:
            bounds = f"{meta.ge:,} to {meta.le:,}"
        elif meta.pattern is None:
            bounds = f"at most {meta.max_length:,} characters"
        else:
            bounds = f"at most {meta.max_length:,} characters, `{meta.pattern}`"
        rows.append((word, bounds))
    return rows


def error_codes() -> list[str]:
    """Return every code, the root's first."""
    found, waiting = [], [errors.ProtocolError]
    while waiting:
        error = waiting.pop(0)
        found.append(error.code)
        waiting += error.__subclasses__()
    return found


def limit_values() -> dict[str, int]:
    """Return every limit by its name."""
    return {name: value for name, value in vars(limits).items() if name.isupper()}


def message_name(message: type) -> str:
    """Return how the page names what a side sends: a message's `type`, or a statement's kind."""
    config: object = getattr(message, "__struct_config__", None)
    tag = getattr(config, "tag", None)
    return tag if isinstance(tag, str) else message.__name__.lower()
