"""Residency: a tenant that is pinned to a region is served there and nowhere else (contract: governance §8)."""

from __future__ import annotations

import falcon.testing
import pytest
from psycopg.types.json import Jsonb

from storage.transactions import Pool, operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode

ACME = {"X-Tenant-ID": "acme"}


@pytest.fixture
def european(make_client: MakeClient) -> falcon.testing.TestClient:
    return make_client(region="eu")


def pin(client: falcon.testing.TestClient, region: str | None) -> falcon.testing.Result:
    change = {"clear": ["region"]} if region is None else {"region": region}
    return client.simulate_patch("/admin/tenants/acme/config", json={**change, "force_region_pin": True})


def refusal(answer: falcon.testing.Result) -> tuple[int, str]:
    assert answer.json["error"]["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, answer.json["error"]["code"]


def test_a_tenant_without_a_pin_is_served_everywhere(european: falcon.testing.TestClient) -> None:
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 200


def test_a_tenant_of_another_region_is_refused_and_told_its_region_alone(european: falcon.testing.TestClient) -> None:
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 200
    pin(european, "us")
    answer = european.simulate_get("/v1/subjects", headers=ACME)
    assert refusal(answer) == (403, "residency.mismatch")
    assert "'us'" in answer.json["error"]["message"] and "eu" not in answer.json["error"]["message"]
    assert european.simulate_post("/v1/episodes", json=episode(), headers=ACME).status_code == 403
    assert european.simulate_get("/v1/subjects", headers={"X-Tenant-ID": "globex"}).status_code == 200


def test_regions_are_compared_letter_by_letter(european: falcon.testing.TestClient) -> None:
    pin(european, "EU")
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 403
    pin(european, "eu")
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 200


def test_a_pin_counts_at_once_in_every_process(make_client: MakeClient) -> None:
    first, second = (make_client(region="eu") for _ in range(2))
    assert second.simulate_get("/v1/subjects", headers=ACME).status_code == 200
    pin(first, "us")
    assert second.simulate_get("/v1/subjects", headers=ACME).status_code == 403
    pin(first, None)
    assert second.simulate_get("/v1/subjects", headers=ACME).status_code == 200


def test_the_tenant_is_checked_wherever_it_is_named(european: falcon.testing.TestClient) -> None:
    european.simulate_post("/v1/episodes", json=episode(), headers=ACME)
    key = european.simulate_post("/admin/keys", json={"name": "k", "tenant_id": "acme"}).json["key"]
    pin(european, "us")
    refused = (403, "residency.mismatch")
    by_key = european.simulate_get("/v1/subjects", headers={"X-API-Key": key})
    by_query = european.simulate_get("/admin/subjects", params={"tenant_id": "acme"})
    by_path = european.simulate_get("/admin/tenants/acme/config")
    by_header = european.simulate_get("/admin/subjects", headers=ACME)
    by_alias = european.simulate_get("/v1/subjects", headers={"x-statewave-tenant-id": "acme"})
    by_body = european.simulate_post("/admin/keys", json={"name": "n", "tenant_id": "acme"})
    found = european.simulate_get("/admin/subjects/ada")
    answers = [by_key, by_query, by_path, by_header, by_alias, by_body, found]
    assert [refusal(answer) for answer in answers] == [refused] * len(answers)


def test_the_tenant_is_checked_where_only_what_is_found_names_it(european: falcon.testing.TestClient) -> None:
    european.simulate_post("/v1/episodes", json=episode(), headers=ACME)
    asked = {"subject_id": episode()["subject_id"], "task": "greet", "emit_receipt": True}
    receipt_id = european.simulate_post("/v1/context", json=asked, headers=ACME).json["receipt_id"]
    document = european.simulate_get(f"/admin/export/{asked['subject_id']}").json
    paths = {
        f"/admin/receipts/{receipt_id}": "GET",
        f"/admin/receipts/{receipt_id}/replay": "POST",
        f"/admin/subjects/{asked['subject_id']}/admin-receipts": "GET",
    }
    for path, method in paths.items():
        assert european.simulate_request(method, path).status_code == 200, path
    pin(european, "us")
    for path, method in paths.items():
        assert refusal(european.simulate_request(method, path)) == (403, "residency.mismatch"), path
    sandbox = f"/admin/subjects/{asked['subject_id']}/policy-sandbox"
    tried = european.simulate_post(sandbox, json={"yaml_content": "{version: 1, rules: []}"})
    assert refusal(tried) == (403, "residency.mismatch")
    imported = european.simulate_post("/admin/import", json={"document": document})
    assert refusal(imported) == (403, "residency.mismatch")


def test_operators_lists_leave_out_tenants_of_other_regions(european: falcon.testing.TestClient) -> None:
    """Every list that there is, from the served document; what a tenant's name leads to is refused elsewhere."""
    for tenant in ("acme", "globex"):
        headers = {"X-Tenant-ID": tenant}
        european.simulate_post("/v1/episodes", json=episode(subject_id=f"ada-of-{tenant}"), headers=headers)
        compiled = {"subject_id": f"ada-of-{tenant}"}
        european.simulate_post("/v1/memories/compile", json=compiled, headers=headers)
        european.simulate_post("/v1/memories/compile", json={**compiled, "async": True}, headers=headers)
        european.simulate_post("/admin/keys", json={"name": f"key-of-{tenant}", "tenant_id": tenant})
        body = {"yaml_content": f"{{version: 1, metadata: {{of: {tenant}}}, rules: []}}", "tenant_id": tenant}
        assert european.simulate_post("/admin/policy/bundles", json=body).status_code == 200
    lists = [
        path
        for path, methods in european.simulate_get("/openapi.json").json["paths"].items()
        if "get" in methods and path.startswith(("/admin/", "/ops/")) and "{" not in path
    ]

    def looked() -> dict[str, str]:
        return {path: european.simulate_get(path, params={"limit": "100"}).text for path in lists}

    before = looked()
    assert {path for path, text in before.items() if "acme" in text} >= {"/admin/subjects", "/admin/keys"}
    counted = european.simulate_get("/admin/dashboard").json["counts"]
    pin(european, "us")
    for path, text in looked().items():
        assert "acme" not in text, path
        assert ("globex" in text) == ("globex" in before[path]), path
    left = european.simulate_get("/admin/dashboard").json["counts"]
    assert {name: number * 2 for name, number in left.items()} == counted


def test_what_operators_do_by_filter_spares_tenants_of_other_regions(
    european: falcon.testing.TestClient, pool: Pool
) -> None:
    for tenant in ("acme", "globex"):
        european.simulate_post("/v1/episodes", json=episode(), headers={"X-Tenant-ID": tenant})
    pin(european, "us")
    everything = {"match_all": True}
    assert european.simulate_post("/admin/subjects/preview-delete", json=everything).json["matched"] == 1
    body = {**everything, "confirm": True, "expected_count": 1}
    assert european.simulate_post("/admin/subjects/bulk-delete", json=body).json["deleted_subjects"] == 1
    with operator_transaction(pool) as conn:
        assert conn.execute("select distinct tenant_id from episodes").fetchall() == [("acme",)]


@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz", "/ready", "/v1/version", "/docs", "/openapi.json"])
def test_some_paths_have_no_tenant(european: falcon.testing.TestClient, path: str) -> None:
    pin(european, "us")
    assert european.simulate_get(path, headers=ACME).status_code == 200


def test_the_default_tenant_can_be_pinned_too(european: falcon.testing.TestClient) -> None:
    body = {"region": "us", "force_region_pin": True}
    assert european.simulate_patch("/admin/tenants/-/config", json=body).status_code == 200
    assert refusal(european.simulate_get("/v1/subjects")) == (403, "residency.mismatch")
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 200
    assert european.simulate_get("/admin/tenants").status_code == 200


def test_a_server_without_a_region_serves_all(client: falcon.testing.TestClient) -> None:
    pin(client, "us")
    assert client.simulate_get("/v1/subjects", headers=ACME).status_code == 200


def test_a_pin_to_another_region_must_be_meant(european: falcon.testing.TestClient) -> None:
    answer = european.simulate_patch("/admin/tenants/acme/config", json={"region": "us"})
    assert refusal(answer) == (422, "residency.invalid_pin")
    assert european.simulate_patch("/admin/tenants/acme/config", json={"region": "eu"}).status_code == 200
    assert pin(european, "us").status_code == 200
    # And can be taken back, from here too.
    body = {"region": "eu", "force_region_pin": True}
    assert european.simulate_patch("/admin/tenants/acme/config", json=body).status_code == 200
    assert european.simulate_get("/v1/subjects", headers=ACME).status_code == 200


def test_a_pin_that_cannot_be_read_refuses(european: falcon.testing.TestClient, pool: Pool) -> None:
    with operator_transaction(pool) as conn:
        conn.execute("insert into tenant_configs (tenant_id, config) values ('acme', %s)", (Jsonb({"region": 7}),))
    assert refusal(european.simulate_get("/v1/subjects", headers=ACME)) == (403, "residency.mismatch")


def test_without_the_database_nobody_is_served(make_doorstep: MakeClient) -> None:
    answer = make_doorstep(region="eu").simulate_get("/v1/memory-templates", headers=ACME)
    assert refusal(answer) == (503, "service_unavailable")
