"""`POST /v1/handoff` at the door: what may be left out, and how."""

from __future__ import annotations

import falcon.testing
import pytest


@pytest.mark.parametrize("left_out", [{}, {"reason": None, "max_tokens": None, "emit_receipt": None}])
def test_null_is_as_good_as_nothing(client: falcon.testing.TestClient, left_out: dict[str, None]) -> None:
    answer = client.simulate_post("/v1/handoff", json={"subject_id": "ada", "session_id": "s1", **left_out})
    assert (answer.status_code, answer.json["reason"]) == (200, "escalation")
    assert answer.json["handoff_notes"].startswith("# Handoff Brief — ada\nReason: escalation\n")
