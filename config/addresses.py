"""Which network addresses lie on the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

#: NAT64 (RFC 6052): the last four bytes are an IPv4 address that a gateway would connect to.
_NAT64 = IPv6Network("64:ff9b::/96")

#: Never public, whatever the version of Python at hand says: local NAT64 (RFC 8215), IPv4-compatible addresses
#: (RFC 4291, deprecated), the former site-local range (RFC 3879), the dummy prefix for discarding (RFC 6666) and
#: documentation (RFC 9637).
_NEVER_PUBLIC = tuple(map(IPv6Network, ("64:ff9b:1::/48", "::/96", "fec0::/10", "100::/64", "3fff::/20")))


def parse_address(text: str) -> Address:
    """The address a text stands for; a scope such as `%eth0` is left out.

    Raises:
        ValueError: when it is no IP address.
    """
    return ip_address(text.partition("%")[0])


def is_public(address: Address) -> bool:
    """Whether a connection to the address leaves for the public internet.

    False for private, loopback, link-local, shared (CGNAT), unspecified, reserved, documentation and multicast
    addresses, and for IPv6 forms that carry such an IPv4 address inside: mapped, NAT64, 6to4 and Teredo.
    """
    if isinstance(address, IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if any(address in network for network in _NEVER_PUBLIC):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None
