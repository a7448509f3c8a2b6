"""JSON requests, field by field: what a field got, what it accepts, and why, all problems of a request at once."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = dict[str, JsonValue]

_SHOWN_CHARACTERS = 80
_SHOWN_PROBLEMS = 10


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one field: its name, the value as JSON (cut), what is accepted, and the reason if any."""

    field: str
    got: str
    accepts: str
    reason: str | None = None

    def __str__(self) -> str:
        text = f"{self.field}: got {self.got}, accepts {self.accepts}"
        return f"{text} ({self.reason})" if self.reason else text


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not taken up: the HTTP status, a stable code, words for a person, and the fields at fault."""

    status: int
    code: str
    message: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Which values a field may have. `reason` tells why others are refused."""

    accepts: str
    admits: Callable[[JsonValue], bool]
    reason: str | None = None


def shown(value: JsonValue) -> str:
    """Render a value as JSON for an error message, cut to a readable length."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def is_text(value: JsonValue) -> bool:
    """Tell whether a value is a string of at most 1,000 characters."""
    return isinstance(value, str) and len(value) <= 1_000


def is_flag(value: JsonValue) -> bool:
    """Tell whether a value is true or false."""
    return isinstance(value, bool)


def is_whole(value: JsonValue, low: int, high: int) -> bool:
    """Tell whether a value is a whole number within bounds; true and false are not numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def only(*values: JsonValue, reason: str) -> Rule:
    """Make a rule that admits these values alone (`true` is not `1`)."""
    admitted = [(type(value), value) for value in values]
    return Rule(" or ".join(shown(value) for value in values), lambda got: (type(got), got) in admitted, reason)


def rejected(problems: list[Problem], *, code: str = "BAD_REQUEST", status: int = 400) -> Rejected:
    """Make one rejection of the problems found."""
    words = "; ".join(str(problem) for problem in problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    message = f"{words}; and {more} more" if more > 0 else words
    return Rejected(status=status, code=code, message=message, problems=tuple(problems[:1_000]))


def read_object(body: bytes) -> JsonObject | Rejected:
    """Decode a body that must be one JSON object; the rejection names the byte where it stops being one."""
    if not body.strip():
        return Rejected(status=400, code="BAD_JSON", message="the body is empty; a JSON object is expected")
    try:
        value: JsonValue = msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        return Rejected(status=400, code="BAD_JSON", message=f"the body cannot be read as JSON: {error}")
    except msgspec.DecodeError as error:
        place = _place(str(error), body)
        return Rejected(status=400, code="BAD_JSON", message=f"the body is not JSON: {error}{place}")
    except UnicodeDecodeError:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            return Rejected(status=400, code="BAD_JSON", message=f"the body is not UTF-8 at byte {error.start}")
        return Rejected(status=400, code="BAD_JSON", message="the body is not UTF-8")
    except RecursionError:
        return Rejected(status=400, code="BAD_JSON", message="the body's JSON is nested too deeply")
    if not isinstance(value, dict):
        return Rejected(status=400, code="BAD_JSON", message=f"the body is {shown(value)}; a JSON object is expected")
    return {name: item for name, item in value.items() if item is not None}


def _place(message: str, body: bytes) -> str:
    """Return line and column of the byte that msgspec names; the body's end where it names none."""
    digits = message.rpartition("(byte ")[2].removesuffix(")")
    at = min(int(digits), len(body)) if digits.isdecimal() else len(body)
    line = body.count(b"\n", 0, at) + 1
    column = at - (body.rfind(b"\n", 0, at) + 1) + 1
    return f", line {line} column {column}"
