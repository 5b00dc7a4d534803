"""Whose address a request comes from, when proxies that we trust stand before us.

A proxy appends the address that it was contacted from, so what it received from its client comes first and may be
made up. Addresses are therefore read from the right, starting with the one that the connection itself comes from, and
only as long as each belongs to a trusted proxy; the first that does not is the client. `X-Forwarded-For` and
`Forwarded` (RFC 7239) are understood. Proxies write one of them and hand on the other as the client sent it, so when
both are there and disagree, neither is believed and the request counts as the last proxy's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

from config.addresses import Address, parse_address

Network = IPv4Network | IPv6Network

#: What requests are counted under whose connection has no IP address.
UNKNOWN = "unknown"

#: Hops that are read at most. Nobody has that many proxies; a header may have that many commas.
MOST_HOPS = 32

#: IPv6 hosts choose their last 64 bits themselves (RFC 4291 §2.5.1, RFC 8981), so the network stands for the host.
IPV6_PREFIX = 64

#: A pair of RFC 7239 §4; the value is a token or a quoted string.
_FOR = re.compile(r'(?:^|;)\s*for=(?:"([^"\\]*)"|([^\s;,"]+))', re.IGNORECASE)


def client_address(peer: str, *, forwarded_for: str | None, forwarded: str | None, trusted: Sequence[Network]) -> str:
    """The address a request counts under: an IPv4 address, the /64 network of an IPv6 address, or `unknown`.

    Args:
        peer: the address that the connection comes from.
        forwarded_for: the X-Forwarded-For header.
        forwarded: the Forwarded header.
    """
    address = _parse(peer)
    if address is None:
        return UNKNOWN
    if _is_trusted(address, trusted):
        told = set()
        if forwarded_for:
            told.add(_walk(address, _plain_hops(forwarded_for), trusted))
        if forwarded:
            told.add(_walk(address, _named_hops(forwarded), trusted))
        if len(told) == 1:
            (address,) = told
    return _name(address)


def _walk(address: Address, hops: Iterator[str], trusted: Sequence[Network]) -> Address:
    """Go from proxy to proxy, away from us. What cannot be read ends the way: the proxy that wrote it is the client."""
    for _, hop in zip(range(MOST_HOPS), hops, strict=False):
        if not _is_trusted(address, trusted):
            return address
        further = _parse(hop)
        if further is None:
            return address
        address = further
    return address


def _plain_hops(header: str) -> Iterator[str]:
    return (hop.strip() for hop in reversed(header.split(",")))


def _named_hops(header: str) -> Iterator[str]:
    for element in reversed(header.split(",")):
        match = _FOR.search(element.strip())
        yield (match[1] or match[2] or "") if match else ""


def _parse(text: str) -> Address | None:
    """An address, with or without a port; IPv4 addresses in the clothes of IPv6 are undressed."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = parse_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _name(address: Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
