"""Receipts travel with a subject when asked: as evidence that verifies anywhere, never as rows of another server."""

from __future__ import annotations

import json

import msgspec
import pytest

from pipelines.portability.export import export_subject
from pipelines.portability.importing import Wishes, import_document
from pipelines.portability.reading import Lines, WholeDocument
from pipelines.receipts.audit import audit
from pipelines.receipts.offline import chain_breaks, receipts_in, verify_body
from pipelines.receipts.signing import keyring_of
from pipelines.services import Services
from tests.pipelines.receipts.stories import KEYS, SUBJECT, TENANT, ask, compile_all, configure, tell, with_settings


@pytest.fixture
def story(services: Services) -> Services:
    """Two signed receipts of a compiled subject."""
    signing = with_settings(services, **KEYS)
    configure(signing, receipt_signing_key_id="e1")
    tell(signing, "I live in Porto.")
    compile_all(signing)
    for task in ("Where does Ada live?", "Who is Ada?"):
        ask(signing, task)
    return signing


def exported(story: Services, form: str, *, with_receipts: bool = True) -> str:
    pieces = export_subject(story, TENANT, SUBJECT, form=form, with_receipts=with_receipts, by="dpo")  # type: ignore[arg-type]
    return b"".join(pieces).decode()


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_they_verify_out_of_the_document(story: Services, form: str) -> None:
    receipts = receipts_in(exported(story, form))
    keyring = keyring_of(story.settings)
    assert [verify_body(receipt, keyring).reason for receipt in receipts] == ["ok", "ok"]
    assert chain_breaks(receipts) == (1, [])
    assert receipts[0]["receipt_id"] > receipts[1]["receipt_id"]


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_only_when_asked(story: Services, form: str) -> None:
    with pytest.raises(ValueError, match="no receipt"):
        receipts_in(exported(story, form, with_receipts=False))


def test_imports_leave_them_out_and_say_so(story: Services) -> None:
    """They belong to the chain that they were written in; in another one they would prove nothing."""
    there = Wishes(target_tenant_id="globex", preserve_ids=False, by="dpo")
    raw = msgspec.json.decode(exported(story, "json"), type=dict[str, msgspec.Raw])
    lines = Lines(iter(exported(story, "jsonl").encode().splitlines()))
    assert lines.next_document()
    for source in (WholeDocument(raw), lines):
        done = import_document(story, source, there)
        assert (done.receipts_left_out, "receipts" in done.rows_imported) == (2, False)
    chains = [audit(story, name, since=None, until=None, cursor=None, limit=10) for name in ("globex", TENANT)]
    assert [(chain.head_seq, chain.intact) for chain in chains] == [(0, True), (2, True)]


def test_a_receipt_that_was_altered_on_the_way_is_noticed(story: Services) -> None:
    document = json.loads(exported(story, "json"))
    document["receipts"][0]["task"] = "Where is Ada?"
    raw = msgspec.json.decode(json.dumps(document).encode(), type=dict[str, msgspec.Raw])
    with pytest.raises(Exception, match="checksum"):
        WholeDocument(raw)
    assert verify_body(document["receipts"][0], keyring_of(story.settings)).reason == "signature_mismatch"
