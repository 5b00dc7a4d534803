"""Who the client is behind proxies, and that nobody can choose to be somebody else."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.client_address import UNKNOWN, client_address
from config.settings import ConfigurationError, load_settings

PROXIES = tuple(ip_network(text) for text in ("10.0.0.0/8", "127.0.0.1", "2001:db8:ffff::/48"))


def told(peer: str, forwarded_for: str | None = None, forwarded: str | None = None) -> str:
    return client_address(peer, forwarded_for=forwarded_for, forwarded=forwarded, trusted=PROXIES)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        # Who is no proxy of ours may say what it likes.
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("192.0.2.7", "10.0.0.1", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # What a client put in front is not looked at.
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "garbage, 198.51.100.1", "198.51.100.1"),
        # A request of a proxy's own.
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        # What cannot be read ends the way at the proxy that wrote it.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::/64"),
        # A host of IPv6 is its network, and an IPv4 address in the clothes of IPv6 is an IPv4 address.
        ("2001:db8:0:1:aaaa:bbbb:cccc:dddd", None, "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", None, "192.0.2.7"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:ffff::1", "198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", None, "fe80::/64"),
        ("", "198.51.100.1", UNKNOWN),
        ("/run/socket", None, UNKNOWN),
    ],
)
def test_x_forwarded_for_is_read_from_the_right(peer: str, forwarded_for: str | None, client: str) -> None:
    assert told(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ('For="[2001:db8::1]:4711"; proto=https;by=10.0.0.1', "2001:db8::/64"),
        ("for=203.0.113.9, for=198.51.100.1;proto=http, for=10.0.0.2", "198.51.100.1"),
        ('proto=http; for="198.51.100.1:80"', "198.51.100.1"),
        ("for=_hidden", "10.0.0.1"),
        ("for=unknown", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ('for="203.0.113.9, for=198.51.100.1', "198.51.100.1"),
        ("notfor=203.0.113.9", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_the_same_way(forwarded: str, client: str) -> None:
    assert told("10.0.0.1", forwarded=forwarded) == client


def test_two_headers_that_disagree_are_both_disbelieved() -> None:
    assert told("10.0.0.1", "198.51.100.1", "for=198.51.100.1") == "198.51.100.1"
    assert told("10.0.0.1", "198.51.100.1", "for=203.0.113.9") == "10.0.0.1"


@given(
    made_up=st.lists(st.ip_addresses().map(str) | st.text(max_size=20), max_size=40),
    client=st.ip_addresses(v=4, network="198.51.100.0/24").map(str),
    hops=st.integers(1, 3),
)
def test_nothing_a_client_sends_changes_who_it_is(made_up: list[str], client: str, hops: int) -> None:
    ours = [f"10.0.0.{hop}" for hop in range(1, hops + 1)]
    assert told(ours[-1], ", ".join([*made_up, client, *ours[:-1]])) == client
    elements = [*(f"for={text}" for text in made_up), *(f"for={address}" for address in (client, *ours[:-1]))]
    assert told(ours[-1], forwarded=", ".join(elements)) == client


@given(peer=st.text(max_size=40), forwarded_for=st.text(max_size=80), forwarded=st.text(max_size=80))
def test_no_header_is_too_strange(peer: str, forwarded_for: str, forwarded: str) -> None:
    told(peer, forwarded_for, forwarded)
    told("10.0.0.1", forwarded_for, forwarded)


@pytest.mark.parametrize("value", ["proxy.example.com", "10.0.0.0/33", "10.0.0.1/8", "*"])
def test_a_proxy_that_is_no_network_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"STATEWAVE_TRUSTED_PROXIES.*10\.0\.0\.0/8"):
        load_settings({"STATEWAVE_TRUSTED_PROXIES": value})


def test_proxies_are_a_list() -> None:
    assert load_settings({"STATEWAVE_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).trusted_proxies == ("10.0.0.0/8", "::1")
