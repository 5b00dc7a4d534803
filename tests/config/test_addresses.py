"""What counts as the public internet."""

from __future__ import annotations

import pytest

from config.addresses import is_public, parse_address

NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.255.255", "fc00::1", "fd12:3456::1"],
    "link-local, where clouds keep their credentials": ["169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "shared by carriers (CGNAT)": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved and broadcast": ["240.0.0.1", "255.255.255.255"],
    "documentation and benchmarks": [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "2001:db8::1",
        "3fff::1",
    ],
    "protocol assignments": ["192.0.0.1"],
    "IPv4 mapped into IPv6": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "IPv4-compatible IPv6": ["::127.0.0.1", "::10.0.0.1"],
    "IPv4 behind NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1"],
    "IPv4 behind 6to4 and Teredo": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::"],
    "site-local and discarded": ["fec0::1", "100::1"],
}

PUBLIC = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "2606:4700:4700::1111",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize(("why", "address"), [(why, one) for why, many in NOT_PUBLIC.items() for one in many])
def test_not_public(why: str, address: str) -> None:
    assert not is_public(parse_address(address)), why


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(parse_address(address))


@pytest.mark.parametrize("text", ["", "localhost", "10.1", "1.2.3.4.5", "example.com"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)
