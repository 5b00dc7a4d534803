"""Memory templates: strict forms in, readable episodes out; a broken file never starts a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.errors import NotFound, ValidationFailed
from config.settings import ConfigurationError
from pipelines.memory_templates import apply_template, checked_values, render
from pipelines.services import Services
from pipelines.template_files import load_templates, parse_template

BUNDLED = ["account-onboarding", "customer-support-handoff", "incident-summary", "project-decision", "user-preference"]

OWN = """\
id: own-form
version: 3
title: Own form
description: Asks for two things.
episode_type: own.form
fields:
  - {name: first, type: string, required: true, description: The first.}
  - {name: second, type: text, required: false, description: The second.}
content_template: |
  First: {first}

  Second: {second}
"""


def filled(template_id: str, **values: str) -> str:
    template = load_templates(None)[template_id]
    return render(template, checked_values(template, values))


def test_the_bundled_templates_in_order() -> None:
    templates = load_templates(None)
    assert list(templates) == BUNDLED
    assert {template.version for template in templates.values()} == {1}
    assert [t.episode_type for t in templates.values()] == [
        *("account.onboarding", "support.handoff_note", "incident.summary", "project.decision", "profile.preference"),
    ]


@pytest.mark.parametrize(
    ("template_id", "required", "optional"),
    [
        ("account-onboarding", ["account", "goals"], ["plan", "key_contacts"]),
        ("customer-support-handoff", ["customer", "issue"], ["steps_taken", "next_owner"]),
        ("incident-summary", ["title", "symptoms"], ["root_cause", "resolution", "follow_up"]),
        ("project-decision", ["decision", "context"], ["alternatives", "decided_by"]),
        ("user-preference", ["subject", "preference"], ["rationale"]),
    ],
)
def test_their_fields(template_id: str, required: list[str], optional: list[str]) -> None:
    fields = load_templates(None)[template_id].fields
    assert sorted(field.name for field in fields if field.required) == sorted(required)
    assert sorted(field.name for field in fields if not field.required) == sorted(optional)


def test_everything_filled_in() -> None:
    assert filled("account-onboarding", account="Globex", plan="Team", goals="Fewer tickets", key_contacts="Ada") == (
        "Account onboarding: Globex (Team)\n\nGoals: Fewer tickets\n\nKey contacts: Ada"
    )


def test_what_is_missing_leaves_no_trace() -> None:
    assert filled("account-onboarding", account="Globex", goals="Fewer tickets") == (
        "Account onboarding: Globex\n\nGoals: Fewer tickets"
    )
    assert (
        filled("incident-summary", title="Mail", symptoms="Late", follow_up=" ") == "Incident: Mail\n\nSymptoms: Late"
    )


def test_a_value_is_put_in_as_it_is() -> None:
    assert filled("user-preference", subject="{rationale}", preference="{x} and {subject}") == (
        "User preference ({rationale}: {x} and {subject})"
    )


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({}, [("title", "missing"), ("symptoms", "missing")]),
        ({"title": "a", "symptoms": "  "}, [("symptoms", "missing")]),
        ({"title": "a", "symptoms": "b", "other": "c"}, [("other", "unknown_field")]),
        ({"title": 1, "symptoms": None}, [("title", "wrong_type"), ("symptoms", "wrong_type")]),
        ({"title": "a\nb", "symptoms": "b"}, [("title", "wrong_type")]),
    ],
)
def test_every_bad_value_is_named(values: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        checked_values(load_templates(None)["incident-summary"], values)
    expected = [(["body", "values", field], kind) for field, kind in problems]
    assert [(p["loc"], p["type"]) for p in refused.value.details or []] == expected


def test_applying_stores_an_episode(services: Services) -> None:
    values = {"title": "Mail delayed", "symptoms": "Mails arrived late", "root_cause": "A full disk"}
    episode = apply_template(
        services, "acme", "incident-summary", subject_id="ada", values=values, session_id="s1", request_id=None
    )
    assert (episode.source, episode.type, episode.session_id) == ("memory-template", "incident.summary", "s1")
    assert msgspec.json.decode(episode.payload) == {
        "template_id": "incident-summary",
        "template_version": 1,
        "fields": values,
        "content": "Incident: Mail delayed\n\nSymptoms: Mails arrived late\n\nRoot cause: A full disk",
    }
    assert msgspec.json.decode(episode.metadata) == {"template": {"id": "incident-summary", "version": 1}}


def test_an_unknown_template(services: Services) -> None:
    with pytest.raises(NotFound):
        apply_template(services, "acme", "none", subject_id="ada", values={}, session_id=None, request_id=None)


def test_own_templates_stand_beside_the_bundled_ones(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(OWN)
    (tmp_path / "notes.txt").write_text("not a template")
    templates = load_templates(str(tmp_path))
    assert list(templates) == sorted([*BUNDLED, "own-form"])
    assert templates["own-form"].version == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("version: 3", "version: three", 2, "version must be"),
        ("version: 3", "version: 0", 2, "version must be"),
        ("id: own-form", "id: Own_Form", 1, "lower-case words"),
        ("title: Own form", "title: [a]", 3, "expected text"),
        ("title: Own form", "title: 5", 3, "expected text"),
        ("title: Own form\n", "", 1, "title missing"),
        ("title: Own form", "titel: Own form", 3, "unknown key 'titel'"),
        ("title: Own form", "version: 4", 3, "version is given twice"),
        ("type: text", "type: number", 8, "must be string or text"),
        ("required: false", "required: maybe", 8, "true or false"),
        ("name: second", "name: first", 8, "declared twice"),
        ("name: second", "name: the second", 8, "letters, digits and underscores"),
        ("Second: {second}", "Second: {third}", 9, "which is no field"),
        ("Second: {second}", "Second", 9, "does not use field second"),
        ("Second: {second}", "Second: {second", 9, "brace"),
        ("title: Own form", "title: 'Own form", 3, "not YAML"),
        (OWN[OWN.index("  - {name: first") : OWN.index("content_template")], "  []\n", 7, "at least one field"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, reason: str) -> None:
    assert old in OWN
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as refused:
        load_templates(str(tmp_path))
    assert reason in str(refused.value)
    if reason != "not YAML":
        assert f"{path}:{line}: " in str(refused.value)
    else:
        assert f"{path}:" in str(refused.value)


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("id: 1")
    with pytest.raises(ConfigurationError) as refused:
        load_templates(str(tmp_path))
    assert len(refused.value.problems) == 2


def test_an_id_can_be_taken_once(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.replace("own-form", "incident-summary"))
    with pytest.raises(ConfigurationError, match="another template with the id incident-summary"):
        load_templates(str(tmp_path))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        load_templates(str(tmp_path / "none"))


def test_yaml_cannot_make_objects() -> None:
    with pytest.raises(Exception, match="expected text"):
        parse_template(OWN.replace("title: Own form", "title: !!python/name:os.system x"), name="own")
