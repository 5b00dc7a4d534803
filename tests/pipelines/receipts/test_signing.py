"""The canonical form and the signatures over it: the same for the same content, and for nothing else."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from pipelines.receipts.body import written_entries
from pipelines.receipts.canonical import (
    SIGNATURE,
    Written,
    canonical_bytes,
    chain_hash,
    is_plain,
    joined,
    members_of,
    signed_bytes,
    written,
)
from pipelines.receipts.emission import signed
from pipelines.receipts.offline import chain_breaks, verify_body
from pipelines.receipts.signing import ED25519, HMAC, Keyring, keyring_of_document, public_keys
from tests.pipelines.receipts.stories import HMAC_KEY, KEYS, base64_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
BODIES = st.dictionaries(
    TEXT.filter(lambda key: not key.startswith("receipt_") and key not in ("status", "tombstoned_at")),
    VALUES,
    max_size=6,
)

#: The text of JSON has few corners; these find them.
few = settings(max_examples=30, deadline=None)

KEYRING = Keyring.of(Settings(**KEYS))


def shuffled(value: Any) -> Any:
    """The same with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_the_canonical_form_is_that_of_the_contract() -> None:
    body = {"b": [1, 12.0, 1e-05, None, True], "a": {"é": "Grüße, 世界", "\U0001f600": '"\\\n\x00\u2028'}}
    assert canonical_bytes(body) == (
        '{"a":{"é":"Grüße, 世界","\U0001f600":"\\"\\\\\\n\\u0000\u2028"},"b":[1,12.0,1e-05,null,true]}'.encode()
    )


@few
@given(BODIES)
def test_the_order_of_keys_makes_no_difference(body: dict[str, Any]) -> None:
    assert canonical_bytes(shuffled(body)) == canonical_bytes(body)


@few
@given(BODIES)
def test_the_canonical_form_survives_being_read_and_written(body: dict[str, Any]) -> None:
    once = canonical_bytes(body)
    assert canonical_bytes(json.loads(once)) == once
    # However somebody's own JSON library escapes it.
    assert canonical_bytes(json.loads(json.dumps(body, ensure_ascii=True, indent=2))) == once


@few
@given(BODIES, st.booleans())
def test_what_is_signed_and_chained_is_the_canonical_form(body: dict[str, Any], is_signed: bool) -> None:
    """Although every member is written once, and members that were written before are taken as they are."""
    members = members_of(body)
    assert joined(members) == canonical_bytes(body)
    half = {name: Written(members[name]) if place % 2 else value for place, (name, value) in enumerate(body.items())}
    assert joined(members_of(half)) == canonical_bytes(body)
    receipt, canonical, chained = signed(body, KEYRING, *(("h1", HMAC) if is_signed else (None, None)))
    assert canonical == signed_bytes(receipt)
    assert chained.hex() == chain_hash(receipt)


@few
@given(st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.booleans() | st.floats().filter(is_plain))))
def test_what_is_written_fast_is_the_canonical_form(entries: list[dict[str, Any]]) -> None:
    assert written(entries) == canonical_bytes(entries).decode()


@pytest.mark.parametrize("score", [5e-05, -9.9e-05, 1e-06, 1e16, 0.0001, 12.0, 0.0, -0.0, 0.123457, None])
def test_a_score_is_written_as_ever(score: float | None) -> None:
    entries = [{"score": score}]
    assert members_of({"selected_entries": written_entries(entries)}) == members_of({"selected_entries": entries})


@few
@given(TEXT, TEXT)
def test_unicode_is_neither_normalised_nor_confused(one: str, other: str) -> None:
    assert (canonical_bytes({"text": one}) == canonical_bytes({"text": other})) == (one == other)


@pytest.mark.parametrize(("key_id", "algorithm", "digits"), [("h1", HMAC, 64), ("e1", ED25519, 128)])
@few
@given(body=BODIES)
def test_what_was_signed_is_verified(key_id: str, algorithm: str, digits: int, body: dict[str, Any]) -> None:
    receipt = signed(body, KEYRING, key_id, algorithm)[0]
    assert len(receipt[SIGNATURE]) == digits
    found = verify_body({**shuffled(receipt), "status": "tombstoned", "tombstoned_at": "later"}, KEYRING)
    assert (found.valid, found.key_id, found.algorithm, found.reason) == (True, key_id, algorithm, "ok")


def test_the_mac_can_be_made_again_with_the_standard_library() -> None:
    receipt = signed({"receipt_id": "R", "score": 0.5, "task": "Grüße"}, KEYRING, "h1", HMAC)[0]
    told = {key: value for key, value in receipt.items() if key != "receipt_signature"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hmac.new(HMAC_KEY, text.encode(), hashlib.sha256).hexdigest() == receipt["receipt_signature"]


@pytest.mark.parametrize(("key_id", "algorithm"), [("h1", HMAC), ("e1", ED25519)])
@few
@given(data=st.data())
def test_any_other_byte_fails(key_id: str, algorithm: str, data: st.DataObject) -> None:
    receipt = signed({"receipt_id": "R", "task": "What is her name?", "n": [1, 2.5]}, KEYRING, key_id, algorithm)[0]
    stored = bytearray(signed_bytes(receipt))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    told = KEYRING.verify(bytes(stored), signature=receipt[SIGNATURE], key_id=key_id, algorithm=algorithm)
    assert (told.valid, told.reason) == (False, "signature_mismatch")


@pytest.mark.parametrize(("key_id", "algorithm"), [("h1", HMAC), ("e1", ED25519)])
@few
@given(data=st.data())
def test_any_other_signature_fails(key_id: str, algorithm: str, data: st.DataObject) -> None:
    receipt = signed({"receipt_id": "R"}, KEYRING, key_id, algorithm)[0]
    right = receipt[SIGNATURE]
    wrong = data.draw(st.text(max_size=140) | st.sampled_from([right.upper(), right[:-1], right + "0", " " + right]))
    if wrong != right:
        assert verify_body({**receipt, SIGNATURE: wrong}, KEYRING).valid is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({SIGNATURE: None}, "no_signature"),
        ({"receipt_signature_key_id": "gone"}, "key_unavailable"),
        ({"receipt_signature_algorithm": "rot13"}, "unsupported_algorithm"),
        # A key of the other algorithm is no key of this one.
        ({"receipt_signature_algorithm": ED25519}, "key_unavailable"),
        ({"receipt_signature_algorithm": 7}, "unsupported_algorithm"),
    ],
)
def test_what_cannot_be_checked_is_said_to_be_so(changes: dict[str, Any], reason: str) -> None:
    receipt = {**signed({"receipt_id": "R"}, KEYRING, "h1", HMAC)[0], **changes}
    found = verify_body(receipt, KEYRING)
    assert (found.valid, found.reason) == (None, reason)


def test_the_code_in_the_documentation_makes_the_signed_bytes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "receipts.md").read_text()
    documented: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], documented)
    receipt = {**signed({"receipt_id": "R", "task": "Grüße", "n": 1e-7}, KEYRING, "h1", HMAC)[0], "status": "active"}
    assert documented["canonical"](receipt) == signed_bytes(receipt)


def test_a_third_party_needs_the_public_key_alone() -> None:
    receipt = signed({"receipt_id": "R"}, KEYRING, "e1", ED25519)[0]
    verifier = keyring_of_document({"keys": public_keys(KEYRING)})
    assert not verifier.hmac and not verifier.ed25519
    assert verify_body(receipt, verifier).valid is True
    assert verify_body({**receipt, "receipt_id": "S"}, verifier).valid is False
    assert verify_body(receipt, keyring_of_document({"h1": base64_of(HMAC_KEY)})).reason == "key_unavailable"


@pytest.mark.parametrize("document", [[], "x", {"keys": 1}, {"keys": [{"crv": "Ed25519"}]}, {"h1": 5}, {"h1": "?"}])
def test_what_is_no_key_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="keys are"):
        keyring_of_document(document)


def test_neighbours_in_a_chain_must_fit() -> None:
    one: dict[str, Any] = {"receipt_id": "A", "tenant_id": None, "chain_seq": 1, SIGNATURE: None}
    two = {"receipt_id": "B", "tenant_id": None, "chain_seq": 2, "previous_hash": chain_hash(one), SIGNATURE: None}
    far = {"receipt_id": "C", "tenant_id": None, "chain_seq": 9, "previous_hash": "?", SIGNATURE: None}
    assert chain_breaks([two, one, far]) == (1, [])
    assert len(chain_breaks([one, {**two, "previous_hash": "0" * 64}])[1]) == 1
    assert len(chain_breaks([one, {**one, "receipt_id": "Z"}])[1]) == 1
