"""`statewave receipts`: verify receipts that you have as files. Needs neither a server nor a database.

Exit code 0: every signature fits and nothing contradicts it. 1: something does not fit. 3: nothing is wrong, but not
everything could be checked, for want of a key or of a signature.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.receipts.offline import chain_breaks, delivered_text_fits, receipts_in, verify_body
from pipelines.receipts.signing import Keyring, keyring_of_document

NOT_CHECKED = 3

#: Longest wait for keys that are fetched.
FETCH_SECONDS = 10

_MEANING = {
    "ok": "is what was signed",
    "signature_mismatch": "IS NOT what was signed",
    "key_unavailable": "cannot be checked: its key is not among those given with --keys",
    "unsupported_algorithm": "cannot be checked: it is signed in a way this version does not know",
    "no_signature": "is not signed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    verify = commands.add_parser("verify", help="check signatures, and the chain between several receipts")
    verify.add_argument("file", help="receipts as the API answers them, or one per line; - reads standard input")
    verify.add_argument(
        "--keys", help="file or URL of keys: GET /v1/receipts/keys of the server, or key ids with base64 HMAC keys"
    )
    verify.add_argument("--text", help="file with the delivered text, to compare with what one receipt says")


def run(arguments: argparse.Namespace) -> int:
    """Verify the receipts of a file."""
    try:
        receipts = receipts_in(_read(arguments.file))
        keyring = keyring_of_document(json.loads(_read(arguments.keys))) if arguments.keys else Keyring()
        text = _read(arguments.text) if arguments.text else None
    except (OSError, ValueError) as ex:
        print(f"cannot read: {ex}", file=sys.stderr)
        return 2
    if text is not None and len(receipts) != 1:
        print("--text goes with one receipt", file=sys.stderr)
        return 2
    failed, open_questions = _verify(receipts, keyring, text)
    if failed:
        return 1
    return NOT_CHECKED if open_questions else 0


def _verify(receipts: list[dict[str, Any]], keyring: Keyring, text: str | None) -> tuple[int, int]:
    """Print what is found; how much does not fit, and how much could not be checked."""
    failed = unknown = 0
    for receipt in receipts:
        checked = verify_body(receipt, keyring)
        signer = f" ({checked.key_id}, {checked.algorithm})" if checked.key_id else ""
        print(f"{receipt['receipt_id']} {_MEANING[checked.reason]}{signer}")
        failed += checked.valid is False
        unknown += checked.valid is None
        if text is not None:
            fits = delivered_text_fits(receipt, text)
            print(f"{receipt['receipt_id']} the text {'is' if fits else 'IS NOT'} what was delivered")
            failed += not fits
    followed, problems = chain_breaks(receipts)
    for problem in problems:
        print(problem)
    if len(receipts) > 1:
        print(f"{followed} of {len(receipts)} follow another of them in the chain, {len(problems)} do not fit")
    return failed + len(problems), unknown


def _read(place: str) -> str:
    """The text of a file, of standard input, or at an address. Line ends stay as they are."""
    if place == "-":
        return sys.stdin.buffer.read().decode()
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=FETCH_SECONDS) as answer:
            return bytes(answer.read()).decode()
    return Path(place).read_bytes().decode()
