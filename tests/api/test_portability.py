"""Export and import over HTTP (contract: core §13, governance §15.1)."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest

from storage.transactions import Pool, operator_transaction
from tests.api.conftest import MakeClient
from tests.api.test_erasures import subjects_of, tell

Client = falcon.testing.TestClient


@pytest.fixture
def manual(make_client: MakeClient) -> Client:
    """A client of an API that compiles nothing by itself."""
    return make_client(auto_compile_after_seconds=None)


def exported(client: Client, **query: Any) -> Any:
    answer = client.simulate_get("/admin/export/ada", params=query)
    assert answer.status_code == 200
    return answer.json


def test_the_document_has_the_keys_of_the_contract_and_more(manual: Client) -> None:
    memories = tell(manual, "ada")
    document = exported(manual)
    assert (document["format_version"], document["subject_id"], document["tenant_id"]) == ("1.1", "ada", "acme")
    assert document["counts"]["episodes"] == 1 and document["counts"]["memories"] == len(memories)
    assert {"session_id", "idempotency_key", "seq"} <= set(document["episodes"][0])
    assert {"sensitivity_labels", "suggested_labels", "superseded_by"} <= set(document["memories"][0])
    old = exported(manual, format_version="1.0")
    assert list(old) == [
        *("format_version", "exported_at", "subject_id", "tenant_id"),
        *("counts", "episodes", "memories", "checksum"),
    ]


def test_an_unknown_subject_cannot_be_exported(manual: Client) -> None:
    assert manual.simulate_get("/admin/export/nobody").status_code == 404


def test_an_import_answers_as_the_contract_says(manual: Client) -> None:
    tell(manual, "ada")
    document = exported(manual)
    answer = manual.simulate_post(
        "/admin/import",
        json={
            "document": document,
            "target_subject_id": "eve",
            "target_tenant_id": "globex",
            "preserve_ids": False,
        },
    )
    assert answer.status_code == 200
    told = answer.json
    assert (told["subject_id"], told["tenant_id"], told["ids_preserved"]) == ("eve", "globex", False)
    assert told["episodes_imported"] == 1 and told["memories_imported"] == document["counts"]["memories"]
    assert subjects_of(manual, "globex") == ["eve"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"format_version": "1.0", "subject_id": "ada", "checksum": 7},
        {"format_version": "1.0", "subject_id": "ada", "episodes": {}, "memories": [], "checksum": ""},
        {"format_version": "1.1", "subject_id": "a\u2028", "checksum": ""},
        {"format_version": "3", "subject_id": "ada"},
    ],
)
def test_what_is_no_document_is_refused(manual: Client, document: dict[str, Any]) -> None:
    answer = manual.simulate_post("/admin/import", json={"document": document})
    assert answer.status_code == 400, answer.json


@pytest.mark.parametrize("row", ['"NaN"', "7", "{}", '{"id": 7}', '{"id": "no"}', '{"content": "\\ud800"}', "[[]]"])
def test_rows_that_are_none_are_refused(manual: Client, row: str) -> None:
    from pipelines.portability.document import Checksum, checksum_1_0

    try:
        lines = Checksum()
        lines.add("memories", row.encode())
        checksum = lines.hexdigest()
    except Exception:
        checksum = ""
    for body in (
        {"format_version": "1.1", "subject_id": "ada", "memories": [json.loads(row)], "checksum": checksum},
        {
            "format_version": "1.0",
            "subject_id": "ada",
            "episodes": [],
            "memories": [json.loads(row)],
            "checksum": checksum_1_0([], [json.loads(row)]),
        },
    ):
        for preserve in (True, False):
            sent = {"document": body, "preserve_ids": preserve}
            answer = manual.simulate_post("/admin/import", body=json.dumps(sent))
            assert answer.status_code in (400, 422), answer.json
    assert manual.simulate_get("/v1/subjects").json["total"] == 0


def test_json_lines_are_exported_and_imported(manual: Client) -> None:
    tell(manual, "ada")
    answer = manual.simulate_get("/admin/export/ada", params={"format": "jsonl"})
    assert answer.headers["Content-Type"] == "application/jsonl"
    lines = answer.text.splitlines()
    assert json.loads(lines[0])["format"] == "statewave-subject" and json.loads(lines[-1])["end"] is True
    manual.simulate_delete("/admin/subjects/ada")
    left_out = manual.simulate_post("/admin/import/lines", body=answer.text).json
    assert left_out["episodes_imported"] == 0 and left_out["skipped_erased"] > 0
    taken = manual.simulate_post("/admin/import/lines", body=answer.text, params={"include_erased": True}).json
    assert taken["episodes_imported"] == 1
    assert manual.simulate_post("/admin/import/lines", body="").status_code == 400
    assert manual.simulate_post("/admin/import/lines", body=lines[0]).status_code == 400
    assert manual.simulate_post("/admin/import/lines", body=lines[0] + "\n7\n").status_code == 400


def clone(client: Client, **fields: Any) -> falcon.testing.Result:
    body = {"source_subject_id": "ada", "target_subject_id": "copy", **fields}
    return client.simulate_post("/admin/memory/clone", json=body)


def test_a_clone_is_a_subject_of_its_own_with_the_labels_of_the_first(manual: Client) -> None:
    memory = tell(manual, "ada")[0]
    labels = {"sensitivity_labels": ["pii.email"]}
    assert manual.simulate_patch(f"/admin/memories/{memory['id']}/labels", json=labels).status_code == 200
    done = clone(manual, target_display_name="A copy").json
    assert done.pop("cloned_at")
    assert done == {
        "status": "cloned",
        "source_subject_id": "ada",
        "target_subject_id": "copy",
        "target_tenant_id": "acme",
        "target_display_name": "A copy",
        "clone_scope": "episodes_and_memories",
        "episode_count": 1,
        "memory_count": exported(manual)["counts"]["memories"],
        "source_count": 0,
    }
    copied = manual.simulate_get("/admin/subjects/copy/memories").json["memories"]
    assert {m["content"]: m["sensitivity_labels"] for m in copied}[memory["content"]] == ["pii.email"]
    assert memory["id"] not in {m["id"] for m in copied}
    manual.simulate_delete("/admin/subjects/ada")
    assert subjects_of(manual) == ["copy"]


@pytest.mark.parametrize(("scope", "episodes", "memories"), [("episodes", 1, 0), ("memories", 0, 1)])
def test_a_part_of_a_subject_is_cloned(manual: Client, pool: Pool, scope: str, episodes: int, memories: int) -> None:
    tell(manual, "ada")
    done = clone(manual, clone_scope=scope, target_tenant_id="globex").json
    assert (done["target_tenant_id"], done["episode_count"], bool(done["memory_count"])) == (
        "globex",
        episodes,
        bool(memories),
    )
    with operator_transaction(pool) as conn:
        waiting = "select last_seq - compiled_seq from subjects where subject_id = 'copy'"
        # Episodes that came without their memories have not been compiled.
        assert conn.execute(waiting).fetchone() == (episodes,)


def test_a_clone_takes_nobodys_place(manual: Client) -> None:
    tell(manual, "ada", "eve")
    assert clone(manual, target_subject_id="eve").status_code == 409
    assert clone(manual, source_subject_id="nobody").status_code == 404
    assert clone(manual, clone_scope="everything").status_code == 422
