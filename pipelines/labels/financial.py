"""Payment cards and bank accounts: digits that carry a check sum."""

from __future__ import annotations

import re

from pipelines.labels.surroundings import is_identifier

#: Contract (governance §5): 13 to 19 digits with optional single spaces or dashes.
CARD = re.compile(r"(?<![\w.,$€£#+-])(?<!\d[ /:])\d(?:[ -]?\d){12,18}(?![\w-])(?![ .,:/]?\d)")

#: Issuers by their first digits, with the lengths they give out (ISO/IEC 7812; the networks' published ranges).
_ISSUERS: tuple[tuple[range, int, frozenset[int]], ...] = (
    (range(4, 5), 1, frozenset({13, 16, 19})),
    (range(51, 56), 2, frozenset({16})),
    (range(2221, 2721), 4, frozenset({16})),
    (range(34, 35), 2, frozenset({15})),
    (range(37, 38), 2, frozenset({15})),
    (range(6011, 6012), 4, frozenset(range(16, 20))),
    (range(644, 660), 3, frozenset(range(16, 20))),
    (range(3528, 3590), 4, frozenset(range(16, 20))),
    (range(300, 306), 3, frozenset({14, 16})),
    (range(36, 37), 2, frozenset({14, 16})),
    (range(38, 40), 2, frozenset({14, 16})),
    (range(62, 63), 2, frozenset(range(16, 20))),
    (range(50, 51), 2, frozenset({16, 18, 19})),
    (range(5600, 5900), 4, frozenset({16, 18, 19})),
    (range(6304, 6305), 4, frozenset({16, 18, 19})),
    (range(676, 678), 3, frozenset({16, 18, 19})),
)

#: Country, two check digits, and up to thirty letters or digits, which may stand in groups of four.
IBAN = re.compile(
    r"(?<![^\W_])(?P<country>[A-Za-z]{2})(?P<check>\d{2})[ \u00a0-]?"
    r"(?P<rest>[A-Za-z0-9]{4}(?:[ \u00a0-]?[A-Za-z0-9]{1,4}){1,8})"
)

#: Lengths of account numbers by country (SWIFT IBAN registry, release 97).
IBAN_LENGTHS = {
    word[:2]: int(word[2:])
    for word in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
        "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 "
        "IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 "
        "MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 "
        "SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
    ).split()
}

_SEPARATORS = " \u00a0-"


def has_card(text: str) -> bool:
    """Whether a payment card's number stands in the text: an issuer's range and length, a valid check digit."""
    return any(_is_card(text, match) for match in CARD.finditer(text))


def has_iban(text: str) -> bool:
    """Whether an international bank account number stands in the text (ISO 13616, check digits by ISO 7064 mod 97)."""
    return any(_is_account(text, match) for match in IBAN.finditer(text))


def luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def mod_97(account: str) -> int:
    """What an account number leaves when divided by 97, its first four characters moved to the end; 1 when valid."""
    moved = account[4:] + account[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97


def _is_card(text: str, match: re.Match[str]) -> bool:
    written = match.group()
    if not written.isascii() or ("-" in written and " " in written):
        return False
    digits = "".join(char for char in written if char.isdigit())
    is_issued = any(int(digits[:width]) in first and len(digits) in lengths for first, width, lengths in _ISSUERS)
    if not is_issued or len(set(digits)) < 2 or not luhn(digits):
        return False
    return _is_grouped_as_card(written) and not is_identifier(text, match.start())


def _is_grouped_as_card(written: str) -> bool:
    groups = [len(group) for group in re.split("[ -]", written)]
    return len(groups) == 1 or (groups[0] in (4, 6) and all(size >= 3 for size in groups[1:-1]))


def _is_account(text: str, match: re.Match[str]) -> bool:
    length = IBAN_LENGTHS.get(match["country"].upper())
    if length is None:
        return False
    # The groups run on into the words behind the number; the country says where it ends.
    taken: list[str] = []
    end = match.start()
    for char in match.group():
        if len(taken) == length:
            break
        end += 1
        if char not in _SEPARATORS:
            taken.append(char)
    account = "".join(taken)
    if len(account) < length or not account.isascii() or not (account.isupper() or account.islower()):
        return False
    return text[end : end + 1].isalnum() is False and mod_97(account.upper()) == 1
