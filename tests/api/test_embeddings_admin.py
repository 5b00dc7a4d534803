"""Operators see with which models subjects are read, and change it; each action leaves a row in the audit log."""

from __future__ import annotations

import falcon.testing

from storage.transactions import Pool, operator_transaction

EPISODE = {"subject_id": "ada", "source": "chat", "type": "message", "payload": {"text": "I keep seven bees"}}


def test_a_change_is_begun_shown_and_undone(client: falcon.testing.TestClient, pool: Pool) -> None:
    assert client.simulate_post("/v1/episodes", json=EPISODE).status_code == 201
    assert client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}).status_code == 200
    before = client.simulate_get("/admin/embeddings").json
    assert before["current"] is None
    assert before["subjects"][0]["model"] == before["configured_model"] == "wordllama-l2-supercat-256"
    target = {"model": "litellm:text-embedding-3-small@1536"}
    begun = client.simulate_post("/admin/embeddings/migrate", json=target)
    assert (begun.status_code, begun.json["state"]) == (202, "filling")
    again = client.simulate_post("/admin/embeddings/migrate", json=target)
    assert (again.status_code, again.json["error"]["code"]) == (409, "change_not_closed")
    assert client.simulate_get("/admin/embeddings").json["current"]["change"]["id"] == begun.json["id"]
    undone = client.simulate_post("/admin/embeddings/rollback")
    assert (undone.status_code, undone.json["state"]) == (200, "rolled_back")
    assert client.simulate_post("/admin/embeddings/prune").json == {"blocks_deleted": 0}
    with operator_transaction(pool) as conn:
        rows = conn.execute("select action from audit_log where action like 'embeddings.%' order by id").fetchall()
    assert [action for (action,) in rows] == ["embeddings.migrate", "embeddings.rollback", "embeddings.prune"]


def test_what_cannot_be_done_says_why(client: falcon.testing.TestClient) -> None:
    bad = client.simulate_post("/admin/embeddings/migrate", json={"model": "gpt"})
    assert (bad.status_code, bad.json["error"]["code"]) == (400, "invalid_embedding_model")
    assert "litellm:MODEL@DIMENSIONS" in bad.json["error"]["message"]
    for path in ("rollback", "prune"):
        assert client.simulate_post(f"/admin/embeddings/{path}").status_code == 404
