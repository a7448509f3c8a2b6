"""The OpenAPI document says what is served, and everything that is answered."""

import json
import re
from pathlib import Path

import pytest

from dispatcher.adapters.api_operations import OPERATIONS
from dispatcher.adapters.audited_requests import ACTIONS, UNNOTED
from dispatcher.adapters.idempotent_posts import OWN_KEYS
from dispatcher.adapters.lab_errors import ErrorAnswer
from dispatcher.key_scopes import AREAS
from dispatcher.openapi import openapi_document, path_parameters
from tests.lab_api.fuzz import fuzz

ADAPTERS = Path(__file__).parents[2] / "dispatcher" / "adapters"
_ROUTE = re.compile(r'web\.(get|post|patch|delete)\(\s*"(/(?:v1|v2|r|log/proof)/[^"]*)"')
NOT_OFFERED = ("post", "/v2/crawl/params-preview")
"""Answers 404 in any case, with the reason."""


def served() -> set[tuple[str, str]]:
    """Every route of the API in the files that serve it."""
    found = {route for file in ADAPTERS.glob("*.py") for route in _ROUTE.findall(file.read_text())}
    return {(method, re.sub(r":[^}]*}", "}", path)) for method, path in found}


def test_every_route_is_an_operation_and_every_operation_a_route() -> None:
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    assert described == served() - {NOT_OFFERED}


def test_names_are_given_once() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_scopes_idempotency_and_the_audit_log_know_the_addresses_by_their_names() -> None:
    posted = {operation.path for operation in OPERATIONS if operation.method == "post"}
    assert posted >= UNNOTED | set(OWN_KEYS)
    assert {(operation.method.upper(), operation.path) for operation in OPERATIONS} >= set(ACTIONS)
    areas = [area.path for area in AREAS]
    assert len(set(areas)) == len(areas)
    for area in areas:
        assert any(f"{operation.path}/".startswith(f"{area}/") for operation in OPERATIONS), area


def test_the_document_stands_by_itself() -> None:
    document = json.loads(openapi_document(OPERATIONS, error=ErrorAnswer, server="https://api.example", version="1.2"))
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "https://api.example"}]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == set(path_parameters(path)), path
            assert operation["summary"] and operation["responses"]


@pytest.mark.timeout(600)
def test_no_answer_is_a_fault_or_undocumented(tmp_path: Path) -> None:
    fuzzed = fuzz(tmp_path, examples=3, seed=11)
    assert fuzzed.failures == 0, fuzzed.said
    assert fuzzed.operations == len(OPERATIONS)
    assert fuzzed.cases > 1_000, fuzzed.said
