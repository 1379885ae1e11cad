"""Where nobody may have us connect to, by any of its names."""

import ipaddress

import pytest

from kiroproxy.addresses import carried, is_off_limits, parse_literal

OFF = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "224.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2001:0:1:1::5601:5601",  # Teredo: the client's address is inverted
]
NEAR = ["127.0.0.1", "10.0.0.7", "192.168.1.1", "::1", "fd12::1", "203.0.113.9", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("text", OFF)
def test_off_limits(text: str) -> None:
    address = parse_literal(text)
    assert address is not None
    assert is_off_limits(address)


@pytest.mark.parametrize("text", NEAR)
def test_where_proxies_live(text: str) -> None:
    address = parse_literal(text)
    assert address is not None
    assert not is_off_limits(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f000001", "2130706433", "::g"])
def test_names_are_no_literals(text: str) -> None:
    assert parse_literal(text) is None


def test_an_address_that_carries_none_is_itself() -> None:
    for text in ("::1", "2001:db8::1", "10.0.0.1"):
        address = ipaddress.ip_address(text)
        assert carried(address) == address
