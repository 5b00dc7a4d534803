"""What stands around a number decides what it is: `Order no. 555-867-5309` is no telephone."""

from __future__ import annotations

import re

#: Characters before a number in which a word may say what the number is.
_LOOK_BACK = 28

#: Words that announce a number of some other kind. The last of them before the number counts, with what may stand
#: between the two ("order no. ", "ticket #", "SKU: ").
_IDENTIFIES = re.compile(
    r"\b(?:order|invoice|ticket|case|part|serial|sku|isbn|issn|ean|upc|gtin|asin|imei|iccid|tracking|parcel|shipment|"
    r"reference|ref|docket|patent|model|item|article|catalog|catalogue|batch|lot|build|version|release|revision|rev|"
    r"commit|checksum|hash|timestamp|epoch|id|ids|uuid|doi|orcid|rfc|po|rma|policy|claim|contract|section|chapter|"
    r"firmware|driver|kernel|clause|paragraph|article|figure|table|oid|v)"
    r"[ \t]{0,2}(?:no\b|nr\b|num\b|number\b|numbers\b|id\b|code\b|key\b|value\b)?[ \t]{0,2}"
    r"(?:\b(?:is|was|are|to|of)\b)?[ \t]{0,2}[.:#=(\"'§-]{0,3}[ \t]{0,2}[vV]?$",
    re.IGNORECASE,
)


def is_identifier(text: str, start: int) -> bool:
    """Whether the words before `text[start:]` say that an order, a version or the like is named there."""
    return _IDENTIFIES.search(text[max(0, start - _LOOK_BACK) : start]) is not None
