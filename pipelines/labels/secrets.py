"""Credentials: tokens that their issuers give a recognisable beginning, and private keys."""

from __future__ import annotations

import re

#: Contract (governance §5). Each form starts with what its issuer puts there and is as long as the issuer makes it.
TOKENS = re.compile(
    r"(?<![\w-])(?:"
    r"AKIA(?P<aws>[A-Z0-9]{16})(?![A-Za-z0-9])"
    r"|gh[pousr]_(?P<github>[A-Za-z0-9]{36,255})(?![A-Za-z0-9_])"
    r"|sk-(?P<plain>[A-Za-z0-9]{20,128})(?![\w-])"
    r"|sk-(?P<scoped>[A-Za-z0-9_-]{20,255})(?![\w-])"
    r"|AIza(?P<google>[A-Za-z0-9_-]{35})(?![\w-])"
    r"|xox[abprs]-(?P<slack>[A-Za-z0-9-]{10,255})(?![\w-])"
    r"|eyJ(?P<jwt>[A-Za-z0-9_-]{5,1024}\.[A-Za-z0-9_-]{16,4096}\.[A-Za-z0-9_-]{16,1024})(?![\w-])"
    r")"
)

PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]:")

#: The body of a key. A header alone is a remark about keys.
_BODY = re.compile(r"[A-Za-z0-9+/]{32}")

#: Characters behind the header in which the body begins: comments and versions may stand between them.
_BODY_WITHIN = 400

#: A body of fewer different characters is a placeholder: `ghp_xxxxxxxx…`.
_LEAST_DIFFERENT = 6


def has_token(text: str) -> bool:
    """Whether an access token stands in the text."""
    return any(_is_token(match) for match in TOKENS.finditer(text))


def has_private_key(text: str) -> bool:
    """Whether a private key stands in the text, in PEM, OpenPGP or PuTTY form."""
    return any(_BODY.search(text, match.end(), match.end() + _BODY_WITHIN) for match in PRIVATE_KEY.finditer(text))


def _is_token(match: re.Match[str]) -> bool:
    form, body = match.lastgroup, match[match.lastgroup or 0]
    if len(set(body.lower()) - {"x"}) < _LEAST_DIFFERENT:
        return False
    if form == "scoped":
        # Words joined by dashes begin like this too ("sk-learn-contrib-…"); keys mix digits and both cases.
        return any(c.isdigit() for c in body) and any(c.isupper() for c in body) and any(c.islower() for c in body)
    if form == "slack":
        return any(c.isdigit() for c in body)
    return True
