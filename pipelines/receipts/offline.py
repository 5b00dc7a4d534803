"""Verifying receipts that somebody holds as files: without a server, without a database. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pipelines.receipts.canonical import SIGNATURE, Body, chain_hash, signed_bytes, text_hash
from pipelines.receipts.signing import Keyring, Verification

#: The section of an exported subject that holds them (pipelines.portability.document).
RECEIPTS = "receipts"

_NOT_JSON = "not JSON: one receipt, a list of them, a page of `GET /v1/receipts`, an export, or one per line"


def receipts_in(text: str) -> list[Body]:
    """The receipts in a file: one, a list, a page as the API answers it, an exported subject, or one per line.

    Raises:
        ValueError: when there are none.
    """
    try:
        found = list(_receipts_of(json.loads(text)))
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            found = [body for line in lines for body in _receipts_of(json.loads(line))]
        except ValueError:
            raise ValueError(_NOT_JSON) from None
    if not found:
        raise ValueError("there is no receipt in it")
    return found


def verify_body(receipt: Body, keyring: Keyring) -> Verification:
    """Check the signature of a receipt as it was read from the API."""
    try:
        data = signed_bytes(receipt)
    except ValueError:
        # Something that JSON cannot say was never signed.
        return Verification(valid=False, key_id=None, algorithm=None, reason="signature_mismatch")
    return keyring.verify(
        data,
        signature=_text(receipt.get(SIGNATURE)),
        key_id=_text(receipt.get("receipt_signature_key_id")),
        algorithm=_text(receipt.get("receipt_signature_algorithm")),
    )


def delivered_text_fits(receipt: Body, text: str) -> bool:
    """Whether the text is, byte for byte, what the receipt says was delivered."""
    output = receipt.get("output")
    return isinstance(output, dict) and output.get("context_hash") == text_hash(text)


def chain_breaks(receipts: Sequence[Body]) -> tuple[int, list[str]]:
    """Of several receipts, how many were found to follow one another, and where neighbours do not fit together.

    What somebody does not hold is no break: receipts of other subjects stand between those of one.
    """
    ordered = sorted(
        (body for body in receipts if isinstance(body.get("chain_seq"), int)),
        key=lambda body: (str(body.get("tenant_id")), body["chain_seq"]),
    )
    problems, followed = [], 0
    for one, other in pairwise(ordered):
        names = f"{other.get('receipt_id')} and {one.get('receipt_id')}"
        distance = other["chain_seq"] - one["chain_seq"]
        if one.get("tenant_id") != other.get("tenant_id") or distance > 1:
            continue
        if distance == 0 and chain_hash(one) != chain_hash(other):
            problems.append(f"{names} claim the same place {one['chain_seq']} in the chain")
        elif distance == 1 and other.get("previous_hash") != chain_hash(one):
            problems.append(f"{names} do not follow one another, though their places do")
        elif distance == 1:
            followed += 1
    return followed, problems


def _receipts_of(document: Any) -> Iterator[Body]:
    if isinstance(document, list):
        for item in document:
            yield from _receipts_of(item)
    elif isinstance(document, dict) and isinstance(document.get("receipts"), list):
        yield from _receipts_of(document["receipts"])
    elif isinstance(document, dict) and document.get("section") == RECEIPTS:
        yield from _receipts_of(document.get("row"))
    elif isinstance(document, dict) and "receipt_id" in document:
        yield document
    elif isinstance(document, dict) and document.keys() & {"section", "end", "format"}:
        return  # Other lines of an export.
    else:
        raise ValueError(_NOT_JSON)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
