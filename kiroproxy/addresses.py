"""Addresses where nothing is ever asked: link-local ones, and machines' own metadata (pure).

A cloud tells whoever asks there from inside what only this host shall know. Loopback and private
networks are where proxies and counting services live, so they are not among them.
"""

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: Final = frozenset(
    ipaddress.ip_address(one)
    for one in (
        *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    )
)
"""Of Alibaba, Azure, Oracle, Amazon (two), Google; most others use a link-local one."""
NAT64: Final = tuple(ipaddress.ip_network(one) for one in ("64:ff9b::/96", "64:ff9b:1::/48"))
"""RFC 6052 and 8215: the last 32 bits are an IPv4 address, for networks without IPv4."""
COMPATIBLE: Final = ipaddress.ip_network("::/96")
"""RFC 4291, 2.5.5.1: deprecated, and still routed by some."""


def parse_literal(host: str) -> Address | None:
    """A host that is an address, with or without an IPv6 zone; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def carried(address: Address) -> Address:
    """The IPv4 address that lies in an IPv6 one and is reached through it; else the address."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    in_last = any(address in one for one in NAT64) or (address in COMPATIBLE and int(address) > 1)
    return inner or (last if in_last else address)


def is_off_limits(address: Address) -> bool:
    """Whether nobody may have us connect there, by whichever of its names."""
    return any(
        one.is_link_local or one.is_multicast or one.is_unspecified or one in METADATA
        for one in (address, carried(address))
    )
