"""Addresses of machines, which often are those of people: IPv4 and IPv6."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from pipelines.labels.surroundings import is_identifier

V4 = re.compile(r"(?<![\w.@,/$€£-])(?<![$€£] )\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)(?!-\w)(?!%|,\d)")
V6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:][0-9A-Fa-f:.]{3,44}(?![\w:])")

#: Blocks in which somebody's address can lie. What else parses is mostly not one: `dead::beef`, `a::1`.
_V6_IN_USE = tuple(
    IPv6Network(block) for block in ("2000::/3", "fc00::/7", "fe80::/10", "ff00::/8", "::ffff:0:0/96", "64:ff9b::/96")
)

#: Addresses of nobody: this host, any host, all hosts, masks.
_NOBODY = (IPv4Network("127.0.0.0/8"), IPv4Network("0.0.0.0/8"), IPv4Network("255.0.0.0/8"))


def has_ip_address(text: str) -> bool:
    """Whether the address of a machine stands in the text. Loopback, masks and the unspecified address are none."""
    return any(_is_v4(text, match) for match in V4.finditer(text)) or any(
        _is_v6(match.group()) for match in V6.finditer(text)
    )


def _is_v4(text: str, match: re.Match[str]) -> bool:
    try:
        address = IPv4Address(match.group())
    except AddressValueError:
        return False
    return not any(address in block for block in _NOBODY) and not is_identifier(text, match.start())


def _is_v6(written: str) -> bool:
    candidate = written.rstrip(".:") if not written.endswith("::") else written
    if candidate.count(":") < 2:
        return False
    try:
        address = IPv6Address(candidate)
    except AddressValueError:
        return False
    return any(address in block for block in _V6_IN_USE)
