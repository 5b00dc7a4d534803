"""A variable that is no setting does nothing, and nobody would notice: every one that is named must be one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from cli.main import COMMANDS
from config.settings import Settings, load_settings, variable
from tests.deployment.manifests import INSTALLATIONS, K8S, ROOT, compose, containers, of_kind, pods

#: Read before there are settings.
BESIDE_SETTINGS = {"STATEWAVE_ENV_FILE"}

NAMES = {variable(field.name) for field in dataclasses.fields(Settings)}

FILES = [
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    ROOT / ".env.example",
    ROOT / "docs/deployment.md",
    *sorted(path for path in K8S.rglob("*") if path.is_file()),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_named_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bSTATEWAVE_[A-Z0-9_]+\b", path.read_text()))
    assert named <= NAMES | BESIDE_SETTINGS


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_each_pod_starts_with_the_settings_it_is_given(name: str) -> None:
    (config_map,) = of_kind(name, "ConfigMap")
    for pod in pods(name):
        for container in containers(pod):
            given = {**image_environment(), **(config_map["data"] if "envFrom" in container else {})}
            given |= {entry["name"]: SECRETS[entry["name"]] for entry in container.get("env", [])}
            if "--host" in container.get("args", []):
                given["STATEWAVE_HOST"] = container["args"][container["args"].index("--host") + 1]
            settings = load_settings(given)
            assert settings.database_url == SECRETS["STATEWAVE_DATABASE_URL"]
            assert settings.data_dir.startswith("/tmp/"), "nothing else can be written"


#: Values such as the secrets must hold.
SECRETS = {
    "STATEWAVE_DATABASE_URL": "postgresql://statewave:secret@postgres:5432/statewave",
    "STATEWAVE_REDIS_URL": "redis://redis:6379/0",
    "STATEWAVE_API_KEY": "a-long-random-key",
    "STATEWAVE_SENTRY_DSN": "",
}


def image_environment() -> dict[str, str]:
    """The settings that the image is built with."""
    pairs = re.findall(r"\b(STATEWAVE_[A-Z_]+)=(\S+)", (ROOT / "Dockerfile").read_text())
    return dict(pairs)


def test_each_service_of_the_compose_file_starts_with_the_settings_it_is_given() -> None:
    example = (ROOT / ".env.example").read_text()
    filled_in = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, flags=re.MULTILINE))
    assert set(filled_in) == {"STATEWAVE_API_KEY", "POSTGRES_PASSWORD"}
    assert not any(filled_in.values()), "an example is no place for a secret, and a default one would be used"
    for name, service in compose()["services"].items():
        if service["image"].startswith("statewave-server"):
            given = {**image_environment(), **service["environment"], "STATEWAVE_API_KEY": "a-long-random-key"}
            if "--host" in service["command"]:
                given["STATEWAVE_HOST"] = service["command"][service["command"].index("--host") + 1]
            settings = load_settings({key: value for key, value in given.items() if key.startswith("STATEWAVE_")})
            assert settings.database_url is not None, name
            assert settings.redis_url == "redis://redis:6379/0"


def test_every_command_that_is_started_exists() -> None:
    commands = [pod.args for name in INSTALLATIONS for pod in pods(name)]
    commands += [service["command"] for service in compose()["services"].values() if "build" in service]
    assert len(commands) > 10
    assert {command[0] for command in commands} <= set(COMMANDS)
