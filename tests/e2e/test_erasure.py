"""Erasure on the running product: a worker proves it, a backup stays out, a move is indexed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cli.api_client import ApiClient
from tests.fixtures.stack import RunningStack

#: Generous: the machine may be busy with other tests.
PATIENCE_SECONDS = 60.0


def wait_for(look: Callable[[], Any]) -> Any:
    """What `look` returns once that is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_an_erasure_is_proved_by_a_worker_and_outlasts_a_backup(running_stack: RunningStack) -> None:
    with ApiClient(running_stack.base_url, tenant_id="erasing") as client:
        client.add_episodes(
            [
                {
                    "subject_id": "ada",
                    "source": "chat",
                    "type": "message",
                    "payload": {"messages": [{"role": "user", "content": "My name is Ada and the zeppelin is green."}]},
                }
            ]
        )
        client.compile("ada")
        backup = client.request("GET", "/admin/export/ada").body
        moved = {"document": backup, "target_subject_id": "eve", "preserve_ids": False}
        assert client.request("POST", "/admin/import", moved).body["indexing"]
        wait_for(lambda: "zeppelin" in context(client, "eve"))
        erasure_id = client.request("DELETE", "/admin/subjects/ada").body["erasure_id"]
        proved = wait_for(lambda: proof(client, erasure_id))
        assert proved["state"] == "proved" and proved["proof"]["redis"]["complete"]
        again = client.request("POST", "/admin/import", {"document": backup}).body
        assert again["episodes_imported"] == 0 and again["skipped_erased"] > 0
        assert "zeppelin" not in context(client, "ada")


def context(client: ApiClient, subject_id: str) -> str:
    answer = client.context(subject_id, "What is green?", max_tokens=200)
    return str(answer.body["assembled_context"])


def proof(client: ApiClient, erasure_id: str) -> dict[str, Any] | None:
    entry = client.request("GET", f"/admin/erasures/{erasure_id}").body
    return entry if entry["state"] != "unproved" else None
