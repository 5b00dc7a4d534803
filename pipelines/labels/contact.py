"""Electronic mail addresses and telephone numbers.

Every repetition is bounded and every pattern can begin only where a run of its characters begins, so the work is
linear in the length of the text.
"""

from __future__ import annotations

import re

from pipelines.labels.surroundings import is_identifier

#: Contract (governance §5): local part, @, domain, dot, a top-level part of two letters or more. Lengths: RFC 5321.
EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~@-])"
    r"(?P<local>[\w!#$%&'*+=?^`{|}~-][\w.!#$%&'*+=?^`{|}~-]{0,63})@"
    r"(?P<domain>(?:[^\W_](?:[^\W_]|-){0,62}\.){1,8}(?P<top>[^\W\d_]{2,24}))(?![\w@-])(?!\.\d)"
)

#: Endings of file names: `logo@2x.png` is a picture.
_FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp bmp ico css scss js jsx ts tsx json xml html htm yaml yml toml txt md pdf zip gz tar "
    "tgz whl exe dll so py rb go rs java class lock log csv docx xlsx pptx wav mov avi".split()
)

#: Contract (governance §5): a plus, a digit, 8 to 18 more digits, spaces, dots, dashes or brackets, a digit at the end.
INTERNATIONAL = re.compile(r"(?<![\w+@#/=&.-])\+\(?\d[\d .()\u00a0\u2011-]{7,17}\d(?!\d)(?![.,]\d)")

#: Contract (governance §5): a group of three, three and four digits with separators.
NORTH_AMERICAN = re.compile(
    r"(?<![\w+./#=-])(?<!\d[ \u00a0])(?:1[ .-])?"
    r"(?:\(\d{3}\)[ .-]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])(?![./ ]\d)(?!\.\w)"
)

#: Digits of a telephone number with its country: E.164 allows 15; fewer than 8 reach no subscriber.
_LEAST_DIGITS, _MOST_DIGITS = 8, 15

_AMOUNT_AFTER = re.compile(
    r"[ \u00a0]?(?:%|€|\$|£|¥|°|[a-z]{1,3}/s\b|(?:eur|usd|gbp|chf|inr|jpy|points?|users?|rows?|bytes?|[kmg]i?b|ms|"
    r"seconds?|"
    r"dollars|euros|requests?|views|followers|hits|tokens?|people|items|units|votes|km|m|kg)\b)",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"\+\d{1,3}(?:[ .\u00a0]000){2,5}")


def has_email(text: str) -> bool:
    """Whether a mail address stands in the text."""
    return any(_is_address(text, match) for match in EMAIL.finditer(text)) if "@" in text else False


def has_phone(text: str) -> bool:
    """Whether a telephone number stands in the text, with its country or in the North American form."""
    if any(_is_subscriber(text, match) for match in INTERNATIONAL.finditer(text)):
        return True
    return any(not is_identifier(text, match.start()) for match in NORTH_AMERICAN.finditer(text))


def _is_address(text: str, match: re.Match[str]) -> bool:
    if match["top"].lower() in _FILE_ENDINGS:
        return False
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 2]
    if before == ":" and "://" in text[max(0, match.start() - 80) : match.start()]:
        return False  # scheme://name:password@host
    # git@host:organisation/repository
    return not (after[:1] == ":" and after[1:].strip() != "" and not after[1:].isdigit()) and match["local"] != "git"


def _is_subscriber(text: str, match: re.Match[str]) -> bool:
    number = match.group()
    digits = sum(char.isdigit() for char in number)
    if not _LEAST_DIGITS <= digits <= _MOST_DIGITS or number.count("(") != number.count(")"):
        return False
    if _AMOUNT.fullmatch(number) or _AMOUNT_AFTER.match(text, match.end()):
        return False
    before = text[max(0, match.start() - 2) : match.start()]
    is_sum = before[:1].isdigit() and before[1:] == " " and number[1:].isdigit()
    return not is_sum and number[1] != "0" and not is_identifier(text, match.start())
