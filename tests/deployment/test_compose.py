"""The compose file. No container engine takes part: it is held against the schema of its format and read."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.deployment.manifests import ROOT, Document, compose

SERVICES: dict[str, Document] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("statewave-server")}


def test_it_is_a_compose_file() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    command = [sys.executable, "-m", "check_jsonschema", *schema, str(ROOT / "compose.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_parts_are_all_there() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "api", "worker", "scheduler"}
    assert set(OURS) == {"migrate", "api", "worker", "scheduler"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_what_runs_on_is_watched_and_restarted(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", ["api", "worker", "scheduler"])
def test_a_part_starts_when_the_schema_is_there(name: str) -> None:
    assert {other: condition["condition"] for other, condition in SERVICES[name]["depends_on"].items()} == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "statewave", "alive", name]


def test_the_migration_runs_once_and_needs_only_the_database() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_may_not_more_than_they_must(name: str) -> None:
    service = OURS[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert set(re.findall(r"(?:PASSWORD|API_KEY): +(\S+)", text)) == {"${POSTGRES_PASSWORD:?is"}
    assert re.findall(r"postgresql://statewave:(\S+)", text) == ["${POSTGRES_PASSWORD:?is"]
    assert ".env\n" in (ROOT / ".gitignore").read_text()


def test_nothing_but_the_api_is_published_and_that_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8100:8100"]}


def test_redis_forgets_nothing_by_itself() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_data_is_on_volumes_that_are_declared() -> None:
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert named == set(compose()["volumes"]) == {"postgres", "redis"}


def test_a_worker_gets_longer_to_stop_than_its_own_deadline() -> None:
    command = SERVICES["worker"]["command"]
    deadline = float(command[command.index("--shutdown-seconds") + 1])
    assert float(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > deadline
