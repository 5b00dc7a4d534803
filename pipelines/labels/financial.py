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
    r"(?<![^\W_])(?P<country>[A-Za-z]{2})(?P<check>\d{2})[ \u00a0-]?(?P<rest>[A-Za-z0-9]{4}(?:[ \u00a0-]?[A-Za-z0-9]{1,4}){1,8})"
)

#: Lengths of account numbers by country (SWIFT IBAN registry, release 97).
IBAN_LENGTHS = {
    **{"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29},
    **{"BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29},
    **{"ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28},
    **{"HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28},
    **{"LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20},
    **{"MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25},
    **{"QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27},
    **{"SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20},
}

_SEPARATORS = " \u00a0-"


def has_card(text: str) -> bool:
    """Whether the number of a payment card stands in the text: an issuer's range and length, and a valid check digit."""
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
