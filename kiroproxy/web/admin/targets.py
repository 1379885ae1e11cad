"""Addresses that an operator may have us connect to: none of them is a machine's own metadata.

Whoever holds the admin key must not be able to read what the cloud tells this host alone. Loopback
and private networks are where proxies and counting services live, so they are allowed.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from kiroproxy.config import proxy_address
from kiroproxy.errors import InvalidRequest

METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Of Alibaba, Azure, Oracle, Amazon, Google; most others use a link-local one."""
NAMES = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data")
DIRECT = "direct"


def check_proxy_url(value: str, param: str = "proxyUrl") -> str:
    """The address of a proxy, as it is stored.

    Raises:
        InvalidRequest: it is none, or lies where no proxy does.
    """
    try:
        address: str = proxy_address(value)
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None
    if address != DIRECT:
        check_host(address, param)
    return address


def check_host(url: str, param: str) -> None:
    """Make sure that a URL leads to nobody's metadata.

    Raises:
        InvalidRequest: it does.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if not host or host in NAMES or any(_forbidden(one) for one in _addresses(host)):
        raise InvalidRequest(
            f"{param}: link-local and metadata addresses are not allowed", param=param
        )


def _addresses(host: str) -> list[str]:
    """What a host name means; nothing if nobody knows it now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]


def _forbidden(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in METADATA
    )
