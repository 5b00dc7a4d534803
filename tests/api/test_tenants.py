"""Tenants' configuration and the operators' overview (contract: governance §7, §9.1)."""

from __future__ import annotations

import threading
from typing import Any

import falcon.testing
import msgspec
import pytest

from pipelines.tenant_config import TenantConfig
from storage.transactions import Pool, operator_transaction
from tests.api.conftest import MakeClient
from tests.api.requests import episode, problems

CONFIG = "/admin/tenants/acme/config"


def patch(client: falcon.testing.TestClient, path: str = CONFIG, **body: Any) -> falcon.testing.Result:
    return client.simulate_patch(path, json=body)


def test_a_tenant_without_a_document_is_at_version_0(client: falcon.testing.TestClient) -> None:
    assert client.simulate_get(CONFIG).json == {
        "tenant_id": "acme",
        "config": {},
        "version": 0,
        "created_at": None,
        "updated_at": None,
    }


def test_changes_are_merged_and_counted(client: falcon.testing.TestClient, pool: Pool) -> None:
    first = patch(client, receipts="always", claim_keys={"tools.used": "multi"}).json
    assert (first["version"], first["config"]) == (1, {"receipts": "always", "claim_keys": {"tools.used": "multi"}})
    with operator_transaction(pool) as conn:
        conn.execute("update tenant_configs set config = config || '{\"of_the_future\": 1}'")
    # Absent and null mean the same: as it is.
    second = patch(client, policy_mode="enforce", receipts=None).json
    assert second == client.simulate_get(CONFIG).json
    assert second["version"] == 2
    assert second["config"] == {**first["config"], "policy_mode": "enforce", "of_the_future": 1}


def test_a_key_is_cleared_by_name(client: falcon.testing.TestClient) -> None:
    patch(client, region="eu", receipts="always")
    assert patch(client, clear=["region"]).json["config"] == {"receipts": "always"}
    assert problems(patch(client, clear=["expected_version"])) == {"body.clear.0": "invalid_value"}
    assert problems(patch(client, clear=["region"], region="eu")) == {"body.region": "invalid_value"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"receipt": "always"}, {"body.receipt": "unknown_field"}),
        ({"config": {"receipts": "always"}}, {"body.config": "unknown_field"}),
        ({"receipts": "sometimes"}, {"body.receipts": "invalid_value"}),
        ({"receipt_retention_days": 36_501}, {"body.receipt_retention_days": "too_large"}),
        ({"receipt_retention_days": -1}, {"body.receipt_retention_days": "too_small"}),
        ({"receipt_retention_days": "7"}, {"body.receipt_retention_days": "wrong_type"}),
        ({"require_caller_identity": 1}, {"body.require_caller_identity": "wrong_type"}),
        ({"region": "x" * 65}, {"body.region": "too_long"}),
        ({"receipt_signing_key_id": "../key"}, {"body.receipt_signing_key_id": "invalid_characters"}),
        ({"claim_keys": {"Tools": "multi"}}, {"body.claim_keys": "invalid_characters"}),
        ({"claim_keys": {f"k{n}": "multi" for n in range(65)}}, {"body.claim_keys": "too_long"}),
        ({"expected_version": -1}, {"body.expected_version": "too_small"}),
    ],
)
def test_what_is_out_of_bounds_is_refused_and_changes_nothing(
    client: falcon.testing.TestClient, body: dict[str, Any], problem: dict[str, str]
) -> None:
    assert problems(patch(client, policy_mode="enforce", **body)) == problem
    assert client.simulate_get(CONFIG).json["version"] == 0


def test_the_expected_version_must_be_there(client: falcon.testing.TestClient) -> None:
    assert patch(client, receipts="always", expected_version=1).status_code == 409
    assert patch(client, receipts="always", expected_version=0).json["version"] == 1
    assert patch(client, receipts="never", expected_version=0).status_code == 409
    assert patch(client, receipts="never", expected_version=1).json["version"] == 2
    conflict = patch(client, receipts="always", expected_version=1)
    assert conflict.json["error"]["code"] == "conflict"
    assert client.simulate_get(CONFIG).json["config"] == {"receipts": "never"}


def test_of_two_who_read_the_same_version_one_writes(client: falcon.testing.TestClient) -> None:
    patch(client, receipts="always")
    barrier = threading.Barrier(4)
    statuses = []

    def change() -> None:
        barrier.wait()
        statuses.append(patch(client, policy_mode="enforce", expected_version=1).status_code)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409, 409]


def test_the_default_tenant_can_be_configured(client: falcon.testing.TestClient) -> None:
    assert patch(client, "/admin/tenants/-/config", receipts="always").json["tenant_id"] == ""
    assert client.simulate_get("/admin/tenants/-/config").json["config"] == {"receipts": "always"}


def test_ids_may_contain_slashes(client: falcon.testing.TestClient) -> None:
    assert patch(client, "/admin/tenants/a%2Fb/config", receipts="always").json["tenant_id"] == "a/b"


def test_every_key_of_the_configuration_can_be_set_and_is_documented(client: falcon.testing.TestClient) -> None:
    schemas = client.simulate_get("/openapi.json").json["components"]["schemas"]
    documented = schemas["TenantConfigChange"]["properties"].keys()
    assert documented == {*TenantConfig.__struct_fields__, "clear", "expected_version", "force_region_pin"}
    defaults = {name: value for name, value in msgspec.to_builtins(TenantConfig()).items() if value is not None}
    assert patch(client, **defaults).json["config"] == defaults


def test_tenants_are_listed(client: falcon.testing.TestClient) -> None:
    for tenant in ("globex", "acme"):
        client.simulate_post("/v1/episodes", json=episode(), headers={"X-Tenant-ID": tenant})
    client.simulate_post("/v1/episodes", json=episode())
    patch(client, "/admin/tenants/new/config", receipts="always")
    assert client.simulate_get("/admin/tenants").json == {"tenants": ["acme", "globex", "new"]}
    audit = client.simulate_get("/admin/tenant-audit").json
    assert audit["null_tenant_rows"] == {"episodes": 1, "memories": 0, "compile_jobs": 1}


def test_the_dashboard_counts_what_is_there(client: falcon.testing.TestClient) -> None:
    for tenant in ("globex", "acme"):
        client.simulate_post("/v1/episodes", json=episode(), headers={"X-Tenant-ID": tenant})
    found = client.simulate_get("/admin/dashboard").json
    assert found["counts"] == {"episodes": 2, "memories": 0, "subjects": 2}
    assert found["jobs"] == {"pending": 2}
    assert found["webhooks"] == {"pending": 0, "delivered": 0, "dead_letter": 0, "total": 0}
    assert found["migration"]["is_compatible"] is True and found["migration"]["pending_count"] == 0
    assert sum(found["health_distribution"].values()) == 2
    assert {"name", "status", "detail", "latency_ms"} == found["readiness"]["checks"][0].keys()


def test_unsafe_settings_are_named(make_client: MakeClient) -> None:
    def issues(**settings: Any) -> dict[str, str]:
        found = make_client(**settings).simulate_get("/admin/readiness-check", headers={"X-API-Key": "dev"}).json
        assert found["fix_staged"] is False
        return {issue["id"]: issue["severity"] for issue in found["issues"]}

    assert issues()["no_backend_auth"] == "critical"
    assert issues(api_key="dev").keys() >= {"dev_placeholder_api_key", "permissive_cors", "no_region"}
    assert not issues(region="eu", cors_origins=("https://a",)).keys() & {"permissive_cors", "no_region"}


def test_the_server_says_which_it_is(make_client: MakeClient) -> None:
    info = make_client(region="eu", require_tenant=True).simulate_get("/admin/connection-info").json
    assert (info["region"], info["require_tenant"], info["auth_enabled"]) == ("eu", True, False)
