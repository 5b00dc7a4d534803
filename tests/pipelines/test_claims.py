"""Claims: keys, how many values they may have, and when two values are the same."""

from __future__ import annotations

import pytest

from pipelines.claims import CLAIM_KEY, DEFAULT_CLAIM_KEYS, claim_metadata, same_value, scoped, unscoped
from tests.pipelines.drafts import day


@pytest.mark.parametrize(
    ("key", "cardinality"),
    [
        ("identity.name", "single"),
        ("employment.current_employer", "single"),
        ("location.current_home", "single"),
        ("billing.primary_payment_processor", "single"),
        ("tools.used", "multi"),
        ("skills", "multi"),
        ("preferences", "multi"),
        ("payment.processors_used", "multi"),
        ("preferences.favorite.color", "single"),
        ("location.current_home@caroline", "single"),
        ("weather.today", None),
        ("preferences.favorite.color.dark", None),
    ],
)
def test_a_key_says_how_many_values_are_true_at_a_time(key: str, cardinality: str | None) -> None:
    assert DEFAULT_CLAIM_KEYS.cardinality(key) == cardinality


def test_a_tenants_keys_are_added_and_leave_the_default_alone() -> None:
    keys = DEFAULT_CLAIM_KEYS.with_additions({"garage.car": "single", "tools.used": "single"})
    assert (keys.cardinality("garage.car"), keys.cardinality("tools.used")) == ("single", "single")
    assert keys.cardinality("identity.name") == "single"
    assert DEFAULT_CLAIM_KEYS.cardinality("garage.car") is None


def test_a_key_is_bound_to_a_speaker_and_freed_again() -> None:
    assert scoped("identity.name", "Dr. Ada Byron") == "identity.name@dr-ada-byron"
    assert scoped("identity.name", None) == scoped("identity.name", " ") == "identity.name"
    assert unscoped("identity.name@dr-ada-byron") == "identity.name"


@pytest.mark.parametrize("value", ["Globex", "globex.", " the  Globex", "GLOBEX"])
def test_values_that_differ_in_form_are_the_same(value: str) -> None:
    assert same_value(value) == "globex"


def test_an_article_alone_is_a_value() -> None:
    assert same_value("The") == "the"
    assert same_value(None) == ""


def test_the_metadata_that_clients_read_has_no_speaker_in_its_key() -> None:
    assert claim_metadata("identity.name@ada", "Ada", day(0)) == {
        "schema_version": 1,
        "key": "identity.name",
        "value": "Ada",
        "valid_from": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("key", "valid"),
    [("a", True), ("a.b_c.d2", True), ("A.b", False), ("a..b", False), ("", False), ("a b", False), ("a@b", False)],
)
def test_keys_are_lower_case_words_joined_by_dots(key: str, valid: bool) -> None:
    assert bool(CLAIM_KEY.fullmatch(key)) is valid
