"""The OpenAPI 3.1 document of the HTTP API, made of its operations (OpenAPI Specification 3.1.1).

An operation says everything a client may send and everything the dispatcher may answer: an answer that is not in here
is a fault. Schemas of bodies and answers are those of the structs that are encoded and decoded.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

Method = Literal["get", "post", "patch", "delete"]
JSON: Final = "application/json"
_REFERENCE: Final = "#/components/schemas/{name}"
_STATUS_WORDS: Final[dict[int, str]] = {
    400: "The request does not say what it must; `details.problems` names each field, what it got and what it accepts.",
    401: "No key, an unknown key, an expired or a revoked one.",
    402: "The team's credits do not suffice.",
    403: "Refused by policy (robots.txt, URL rules) or outside the key's scopes.",
    404: "Nothing of that id belongs to this key's team.",
    405: "The address does not take this method.",
    408: "The page did not come in time; the job goes on, and the same request waits for it again.",
    409: "The request does not fit the state of what it names, or repeats an idempotency key with another body.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    425: "Not there yet; `Retry-After` says when to come again.",
    429: "A limit is reached; `Retry-After` says when to come again.",
    500: "The page could not be fetched in several attempts, or a fault inside the network.",
    503: "A store of the network does not answer.",
    507: "The network's disk is full; nothing of the request was kept.",
}
_OF_EVERY_REQUEST: Final = (401, 429, 503)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of a path, a query or a header. `type` is what its JSON Schema is made of."""

    name: str
    place: Literal["path", "query", "header"] = "query"
    type: Any = str
    words: str = ""
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    `answer` is the struct of the answer with status 200, or None for the `media_type` as it is; `other_types` are what
    it may come as beside JSON. `errors` are the statuses it may answer beside those of every request. `public`
    operations take no key.
    """

    name: str
    method: Method
    path: str
    tag: str
    words: str
    body: Any = None
    answer: Any = None
    media_type: str = JSON
    other_types: tuple[str, ...] = ()
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    scope: str | None = None
    public: bool = False


def openapi_document(
    operations: Sequence[Operation], *, error: type[msgspec.Struct], server: str, version: str
) -> bytes:
    """Make the document, as JSON. `error` is the body of every error, `server` the address of the paths."""
    types = _types(operations, error)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    of_type = dict(zip([_key(each) for each in types], schemas, strict=True))
    refused = of_type[_key(error)]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, of_type, refused)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Meadow",
                "version": version,
                "summary": "Pages of the public web, read through willing people's connections, with proof.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": server}],
            "security": [{"key": []}],
            "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
            "paths": paths,
            "components": {
                "schemas": {name: _described(schema) for name, schema in components.items()},
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def path_parameters(path: str) -> list[str]:
    """The names of a path's parameters, as `id` of `/v2/crawl/{id}`."""
    return re.findall(r"\{(\w+)\}", path)


def _types(operations: Sequence[Operation], error: type[msgspec.Struct]) -> list[Any]:
    found: dict[str, Any] = {_key(error): error}
    for operation in operations:
        for each in (operation.body, operation.answer, *(parameter.type for parameter in operation.parameters)):
            if each is not None:
                found.setdefault(_key(each), each)
    return list(found.values())


def _key(type_: Any) -> str:
    return repr(type_)


def _operation(operation: Operation, of_type: dict[str, Any], refused: dict[str, Any]) -> dict[str, Any]:
    responses = {str(operation.status): _answer(operation, of_type)}
    errors = set(operation.errors) | (set() if operation.public else set(_OF_EVERY_REQUEST))
    if operation.body is not None:
        errors |= {400, 413, 415}
    for status in sorted(errors):
        responses[str(status)] = {
            "description": _STATUS_WORDS[status],
            "content": {JSON: {"schema": refused}},
        }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.words.partition("\n")[0],
        "description": inspect.cleandoc(operation.words),
        "parameters": _parameters(operation, of_type),
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": of_type[_key(operation.body)]}}}
    if operation.public:
        described["security"] = []
    elif operation.scope is not None:
        described["description"] += f"\n\nScope: `{operation.scope}`."
    return described


def _answer(operation: Operation, of_type: dict[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(operation.answer) if operation.answer is not None else "As it is."
    schema = of_type[_key(operation.answer)] if operation.answer is not None else {}
    content = {operation.media_type: {"schema": schema}, **{each: {} for each in operation.other_types}}
    return {"description": words or "As it is.", "content": content}


def _parameters(operation: Operation, of_type: dict[str, Any]) -> list[dict[str, Any]]:
    given = {parameter.name: parameter for parameter in operation.parameters}
    for name in path_parameters(operation.path):
        given.setdefault(name, Parameter(name=name, place="path", type=str))
    return [
        {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required or parameter.place == "path",
            "description": parameter.words,
            "schema": of_type.get(_key(parameter.type), {"type": "string"}),
        }
        for parameter in given.values()
    ]


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its docstring's indentation removed."""
    if isinstance(words := schema.get("description"), str):
        return {**schema, "description": inspect.cleandoc(words)}
    return schema
