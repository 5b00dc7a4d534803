"""Requests made up from the served OpenAPI document, valid and spoiled: no 5xx, and answers as it promises."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import OPERATIONS
from api.operations import Operation
from config.queues import QUEUES
from tests.fixtures.stack import RunningStack

#: Requests per operation, of each mode.
EXAMPLES = 20

#: Paths that want a whole policy, or the hash of one: nobody makes those up.
POLICY_NEEDED = {
    *("/admin/policy/bundles", "/admin/policy/bundles/{bundle_hash}"),
    *("/admin/policy/activate", "/admin/policy/dry-run"),
}

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

#: What asks for more than a valid request: a subject that is there, a confirmed number, a checksum.
NEVER_BY_CHANCE = {
    *("/admin/subjects/bulk-delete", "/admin/export/{subject_id:path}", "/admin/import", "/admin/import/lines"),
    "/admin/memory/clone",
}

#: What this installation, without a language model and with nothing to change, answers to valid requests.
NOT_HERE = {
    "/v1/llm/complete": {503},
    "/admin/embeddings/migrate": {400, 409},
    "/admin/embeddings/rollback": {404},
    "/admin/embeddings/prune": {404},
}


def name(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.fixture(scope="module")
def document(running_stack: RunningStack) -> Any:
    """The document as the running server serves it."""
    return schemathesis.openapi.from_url(f"{running_stack.base_url}/openapi.json")


@pytest.mark.parametrize("operation", OPERATIONS, ids=name)
def test_valid_requests_are_answered_as_promised(document: Any, operation: Operation) -> None:
    answered = send(document, operation, schemathesis.GenerationMode.POSITIVE)
    # Otherwise the requests were not valid, and nothing was tested. Nobody guesses the id of a thing, though.
    is_guessed = re.search(r"\{(?!subject_id)\w+_id(:path)?\}", operation.path)
    is_never_by_chance = operation.path in POLICY_NEEDED or operation.path in NEVER_BY_CHANCE
    assert answered & NOT_HERE.get(operation.path, {200, 201, 202}) or is_guessed or is_never_by_chance


@pytest.fixture(scope="module", autouse=True)
def nothing_stays_paused(running_stack: RunningStack) -> Iterator[None]:
    """The requests are meant: whoever shares the server afterwards needs its queues."""
    yield
    for queue in QUEUES:
        with urllib.request.urlopen(
            urllib.request.Request(f"{running_stack.base_url}/admin/queues/{queue}/resume", method="POST")
        ) as answer:
            assert answer.status == 200


def takes_input(operation: Operation) -> bool:
    return any((operation.body, operation.query, operation.path_fields, operation.headers))


@pytest.mark.parametrize("operation", list(filter(takes_input, OPERATIONS)), ids=name)
def test_spoiled_requests_are_answered_as_promised(document: Any, operation: Operation) -> None:
    answered = send(document, operation, schemathesis.GenerationMode.NEGATIVE)
    assert answered & {404, 405, 422}


def send(document: Any, operation: Operation, mode: schemathesis.GenerationMode) -> set[int]:
    """Send requests made up for the operation and check every answer.

    Returns:
        The statuses that were answered.
    """
    answered: set[int] = set()
    checks = [
        check for check in CHECKS if check is not not_a_server_error or 503 not in NOT_HERE.get(operation.path, ())
    ]
    described = document[operation.path.replace(":path}", "}")][operation.method]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=described.as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(headers={"X-Tenant-ID": "schemathesis"}, checks=checks)
        answered.add(answer.status_code)

    holds()
    return answered
