"""A request that is not valid is answered 422 with every bad field, its limit, and nothing else of the server's."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.requests import episode, problems

Client = falcon.testing.TestClient


def post(client: Client, body: bytes | str, path: str = "/v1/episodes", **more: Any) -> Any:
    return client.simulate_post(path, body=body, **more)


def test_every_bad_field_is_named_at_once(doorstep: Client) -> None:
    body = episode(subject_id="", source=7, type=..., payload=[], session_id="x" * 257, occurred_at="yesterday")
    answer = doorstep.simulate_post("/v1/episodes", json=body)
    assert problems(answer) == {
        "body.subject_id": "too_short",
        "body.source": "wrong_type",
        "body.type": "missing",
        "body.payload": "wrong_type",
        "body.session_id": "too_long",
        "body.occurred_at": "invalid_value",
    }


def test_a_problem_says_the_limit(doorstep: Client) -> None:
    answer = doorstep.simulate_post("/v1/episodes", json=episode(subject_id="x" * 257))
    assert [problem["msg"] for problem in answer.json["error"]["details"]] == ["Expected `str` of length <= 256"]


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/v1/timeline", "subject_id=a&status=some", "Expected one of 'all', 'active'"),
        ("/v1/timeline", "subject_id=a&newest_first=perhaps", "Expected true or false"),
        ("/v1/timeline", "subject_id=a&since=soon", "Expected a time in ISO 8601, such as 2026-03-14T09:26:53Z"),
        ("/v1/subjects/a/sla", "resolution_threshold_hours=-1", "Expected `float` >= 0.0"),
    ],
)
def test_a_problem_says_what_would_be_accepted(doorstep: Client, path: str, query: str, message: str) -> None:
    answer = doorstep.simulate_get(path, query_string=query)
    assert [problem["msg"] for problem in answer.json["error"]["details"]] == [message]


def test_problems_of_headers_and_body_are_named_together(doorstep: Client) -> None:
    answer = doorstep.simulate_post("/v1/episodes", json=episode(source=""), headers={"Idempotency-Key": "k" * 513})
    assert problems(answer) == {"header.Idempotency-Key": "too_long", "body.source": "too_short"}


def test_a_batch_names_the_items_by_their_index(doorstep: Client) -> None:
    items = [episode(), episode(source=""), 5, episode(metadata={"idempotency_key": 9})]
    answer = doorstep.simulate_post("/v1/episodes/batch", json={"episodes": items})
    assert problems(answer) == {
        "body.episodes.1.source": "too_short",
        "body.episodes.2": "wrong_type",
        "body.episodes.3.metadata.idempotency_key": "wrong_type",
    }


@pytest.mark.parametrize(("count", "kind"), [(0, "too_short"), (101, "too_long")])
def test_a_batch_holds_1_to_100_episodes(doorstep: Client, count: int, kind: str) -> None:
    answer = doorstep.simulate_post("/v1/episodes/batch", json={"episodes": [episode()] * count})
    assert problems(answer) == {"body.episodes": kind}


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("subject_id", "line\nbreak", "invalid_characters"),
        ("subject_id", "ends in a newline\n", "invalid_characters"),
        ("subject_id", "\x85", "invalid_characters"),
        ("session_id", "", "too_short"),
        ("type", "t" * 129, "too_long"),
        ("source", "s" * 257, "too_long"),
        ("idempotency_key", "k" * 513, "too_long"),
        ("occurred_at", "2026-02-30T00:00:00Z", "invalid_value"),
        ("occurred_at", "0001-01-01T00:00:00+14:00", "out_of_range"),
        ("occurred_at", "9999-12-31T23:59:59-01:00", "out_of_range"),
        ("occurred_at", True, "wrong_type"),
        ("metadata", "text", "wrong_type"),
    ],
)
def test_limits_of_an_episode(doorstep: Client, field: str, value: Any, kind: str) -> None:
    assert problems(doorstep.simulate_post("/v1/episodes", json=episode(**{field: value}))) == {f"body.{field}": kind}


@pytest.mark.parametrize(("key", "kind"), [(7, "wrong_type"), (["k"], "wrong_type"), ("k" * 513, "too_long")])
def test_a_bad_key_in_the_metadata_is_named_by_its_path(doorstep: Client, key: Any, kind: str) -> None:
    answer = doorstep.simulate_post("/v1/episodes", json=episode(metadata={"idempotency_key": key}))
    assert problems(answer) == {"body.metadata.idempotency_key": kind}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b'{"subject_id": NaN}', "invalid_json"),
        (b'{"subject_id": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"subject_id": "\xff"}', "invalid_utf8"),
        ('{"a": 1}'.encode("utf-16"), "invalid_utf8"),
        (b'{"a": "\x00"}', "invalid_json"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        (b"[]", "wrong_type"),
        (b'"text"', "wrong_type"),
        (b"null", "wrong_type"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/episodes", "/v1/episodes/batch", "/v1/memories/compile", "/v1/context"])
def test_what_is_not_a_json_object_is_refused_as_a_whole(doorstep: Client, path: str, body: bytes, kind: str) -> None:
    assert problems(post(doorstep, body, path)) == {"body": kind}


@pytest.mark.parametrize(
    ("payload", "location", "kind"),
    [
        ('{"text": "a\\u0000b"}', "body.payload.text", "nul_character"),
        ('{"deep": [{"er": ["\\u0000"]}]}', "body.payload.deep.0.er.0", "nul_character"),
        ('{"ke\\u0000y": 1}', "body.payload.ke\0y", "nul_character"),
        ('{"text": "\\ud800"}', "body.payload.text", "lone_surrogate"),
        ('{"\\udfff": 1}', "body.payload.?", "lone_surrogate"),
        ('{"number": 1e400}', "body.payload.number", "out_of_range"),
        ('{"number": [-1e400]}', "body.payload.number.0", "out_of_range"),
    ],
)
def test_what_cannot_be_stored_is_named_where_it_is(doorstep: Client, payload: str, location: str, kind: str) -> None:
    body = json.dumps(episode(payload=0)).replace('"payload": 0', f'"payload": {payload}')
    assert problems(post(doorstep, body)) == {location: kind}


def test_a_backslash_before_u0000_is_not_a_nul(client: Client) -> None:
    answer = client.simulate_post("/v1/episodes", json=episode(payload={"text": "C:\\u0000"}))
    assert answer.status_code == 201
    assert answer.json["payload"] == {"text": "C:\\u0000"}


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"deeper": value}
    return value


def test_documents_may_be_nested_to_the_limit_and_no_further(client: Client) -> None:
    # The body is one level, its payload another.
    assert client.simulate_post("/v1/episodes", json=episode(payload={"a": nested(98)})).status_code == 201
    refused = client.simulate_post("/v1/episodes", json=episode(payload={"a": nested(99)}))
    assert list(problems(refused).values()) == ["too_deep"]


def test_a_large_flat_document_is_not_a_deep_one(client: Client) -> None:
    payload = {"rows": [[number] for number in range(5000)]}
    assert client.simulate_post("/v1/episodes", json=episode(payload=payload)).status_code == 201


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/timeline", "", {"query.subject_id": "missing"}),
        ("/v1/timeline", "subject_id=", {"query.subject_id": "missing"}),
        ("/v1/timeline", "subject_id=a%00b", {"query.subject_id": "nul_character"}),
        ("/v1/timeline", "subject_id=%FF", {"query.subject_id": "lone_surrogate"}),
        ("/v1/timeline", "subject_id=a&kinds=x%00", {"query.kinds.0": "nul_character"}),
        ("/v1/timeline", "subject_id=a&status=some", {"query.status": "invalid_value"}),
        (
            "/v1/timeline",
            "subject_id=a&limit=0&offset=-1&newest_first=perhaps&since=soon",
            {
                "query.limit": "too_small",
                "query.offset": "too_small",
                "query.newest_first": "wrong_type",
                "query.since": "invalid_value",
            },
        ),
        ("/v1/timeline", "subject_id=a&offset=99999999999999999999", {"query.offset": "too_large"}),
        ("/v1/memories/search", "subject_id=a&limit=501", {"query.limit": "too_large"}),
        (
            "/v1/memories/search",
            "subject_id=a&q=%00&kind=%00",
            {"query.q": "nul_character", "query.kind": "nul_character"},
        ),
        ("/v1/subjects", "limit=201", {"query.limit": "too_large"}),
        (
            "/v1/subjects/a/sla",
            "first_response_threshold_minutes=-1",
            {"query.first_response_threshold_minutes": "too_small"},
        ),
        ("/v1/subjects", "limit=many", {"query.limit": "wrong_type"}),
    ],
)
def test_limits_of_queries(doorstep: Client, path: str, query: str, expected: dict[str, str]) -> None:
    assert problems(doorstep.simulate_get(path, query_string=query)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"body.subject_id": "missing", "body.task": "missing"}),
        ({"subject_id": "a", "task": ""}, {"body.task": "too_short"}),
        ({"subject_id": "a", "task": "t" * 4001}, {"body.task": "too_long"}),
        ({"subject_id": "a", "task": "t", "max_tokens": 0}, {"body.max_tokens": "too_small"}),
        ({"subject_id": "a", "task": "t", "max_tokens": 128_001}, {"body.max_tokens": "too_large"}),
        ({"subject_id": "a", "task": "t", "max_tokens": "many"}, {"body.max_tokens": "wrong_type"}),
        (
            {
                "subject_id": "a",
                "task": "t",
                "query_id": "q" * 65,
                "parent_receipt_id": "p" * 27,
                "caller_id": "c" * 257,
            },
            {"body.query_id": "too_long", "body.parent_receipt_id": "too_long", "body.caller_id": "too_long"},
        ),
    ],
)
def test_limits_of_a_context_request(doorstep: Client, fields: dict[str, Any], expected: dict[str, str]) -> None:
    assert problems(doorstep.simulate_post("/v1/context", json=fields)) == expected


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_value_of_a_field_is_too_strange_to_be_answered(doorstep: Client, value: Any) -> None:
    body = json.dumps({"subject_id": value, "async": value})
    assert post(doorstep, body, "/v1/memories/compile").status_code in (422, 503)


@given(st.binary())
def test_no_body_is_too_strange_to_be_refused(doorstep: Client, body: bytes) -> None:
    assert post(doorstep, body).status_code == 422


@given(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda text: text.encode())
    | st.binary(min_size=1)
)
def test_no_query_is_too_strange_to_be_answered(doorstep: Client, value: bytes) -> None:
    query = "subject_id=" + "".join(f"%{byte:02x}" for byte in value)
    assert doorstep.simulate_get("/v1/timeline", query_string=query).status_code in (422, 503)


@pytest.mark.parametrize(
    "query", ["subject_id=a&limit=&since=&kinds=&newest_first=", "subject_id=b&subject_id=a&unknown=1"]
)
def test_an_empty_or_unknown_parameter_is_as_good_as_none_and_the_last_of_several_counts(
    client: Client, query: str
) -> None:
    answer = client.simulate_get("/v1/timeline", query_string=query)
    assert answer.status_code == 200
    assert answer.json["subject_id"] == "a"
