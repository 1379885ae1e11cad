"""Who a request comes from, also behind nginx (design, Q15): for throttles, logs and the audit.

`X-Forwarded-For` is a list that anybody may begin and each proxy adds to at its right end. It is
read from there, for as long as the address before it is one of `trustedProxies`: what stands left
of the first stranger is the stranger's word.
"""

import functools
import ipaddress
from collections.abc import Sequence

from flask import Request

from kiroproxy.config import Config

UNIX = "unix"
"""The peer of a unix socket, which has no address; as a trusted proxy: all that may connect."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(request: Request, config: Config) -> str:
    """The address of the client; `unix` where there is none."""
    peer = request.environ.get("REMOTE_ADDR", "")
    forwarded = request.headers.get("x-forwarded-for", "")
    return believed_address(peer, forwarded, config.trusted_proxies)


@functools.lru_cache(maxsize=1024)
def believed_address(peer: str, forwarded: str, trusted: tuple[str, ...]) -> str:
    """The first address from the right that is no trusted proxy's; else the last one known.

    Args:
        peer: who opened the connection; empty for a unix socket.
        forwarded: the header, its lines joined by commas.
        trusted: networks, and perhaps `unix`.
    """
    address = parse_address(peer)
    believed = str(address) if address else UNIX
    networks = _networks(trusted)
    if not (UNIX in trusted if address is None else _within(address, networks)):
        return believed
    for entry in reversed(forwarded.split(",")):
        address = parse_address(entry)
        if address is None:  # nothing, or nonsense: whoever wrote it is as far as we know
            return believed
        believed = str(address)
        if not _within(address, networks):
            return believed
    return believed


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, with an IPv6 zone; None if none.

    IPv4 within IPv6 is IPv4: a socket for both shows its peers like that.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@functools.lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in trusted if one != UNIX)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == one.version and address in one for one in networks)
