"""Keys that could not sign stop the process, with what to do and without telling what they are."""

from __future__ import annotations

import base64
import json

import pytest

from config.settings import ConfigurationError, load_settings
from config.settings_table import current

GOOD = base64.b64encode(b"k" * 32).decode()
SHORT = base64.b64encode(b"secret").decode()


def test_keys_are_read_by_their_ids() -> None:
    settings = load_settings({"STATEWAVE_RECEIPT_SIGNING_KEYS": json.dumps({"2026-01": GOOD, "2026-02": GOOD})})
    assert settings.receipt_signing_keys == {"2026-01": b"k" * 32, "2026-02": b"k" * 32}
    assert load_settings({"STATEWAVE_RECEIPT_SIGNING_KEYS": ""}).receipt_signing_keys == {}


@pytest.mark.parametrize("name", ["STATEWAVE_RECEIPT_SIGNING_KEYS", "STATEWAVE_RECEIPT_ED25519_KEYS"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("secret", "not JSON"),
        ('["secret"]', "not a JSON object"),
        (json.dumps({"a": SHORT}), "32"),
        (json.dumps({"a": "se cret"}), "not base64"),
        (json.dumps({"a": 5}), "not base64"),
        (json.dumps({"bad id": GOOD}), "letters, digits"),
        (f'{{"a": "{GOOD}", "a": "{GOOD}"}}', "twice"),
    ],
)
def test_a_bad_key_stops_the_start(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value})
    assert name in str(caught.value) and told in str(caught.value)
    assert "secret" not in str(caught.value) and GOOD not in str(caught.value)


def test_an_id_names_one_key() -> None:
    keys = json.dumps({"a": GOOD})
    with pytest.raises(ConfigurationError, match="must name one key"):
        load_settings({"STATEWAVE_RECEIPT_SIGNING_KEYS": keys, "STATEWAVE_RECEIPT_ED25519_KEYS": keys})


def test_the_settings_in_force_do_not_show_them() -> None:
    settings = load_settings({"STATEWAVE_RECEIPT_SIGNING_KEYS": json.dumps({"a": GOOD})})
    shown = {name: value for name, value, _ in current(settings)}
    assert shown["STATEWAVE_RECEIPT_SIGNING_KEYS"] == "(set)"
