"""Addresses that an operator may have us connect to: none of them is a machine's own metadata.

Whoever holds the admin key must not be able to read what the cloud tells this host alone. What is
checked here may resolve otherwise later; `transport` looks again at each connection it makes.
"""

import socket
from dataclasses import replace
from urllib.parse import urlsplit

from kiroproxy.addresses import is_off_limits, parse_literal
from kiroproxy.config import proxy_address
from kiroproxy.credentials.model import REASONS, Credential
from kiroproxy.errors import InvalidRequest

NAMES = frozenset(
    {
        *("metadata", "metadata.google.internal", "metadata.goog"),
        *("instance-data", "instance-data.ec2.internal"),
    }
)
DIRECT = "direct"
MASKED = "***@"
NUMBER_LIMIT = 2**53
PLACES_LIMIT = 10**6


def check_proxy_url(value: str, param: str = "proxyUrl") -> str:
    """The address of a proxy, as it is stored.

    Raises:
        InvalidRequest: it is none, or lies where no proxy does.
    """
    if MASKED in value:
        raise InvalidRequest(f"{param}: this is the masked address, not a secret", param=param)
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
    found = [parse_literal(one) for one in (host, *_addresses(host))]
    if not host or host in NAMES or any(one and is_off_limits(one) for one in found):
        raise InvalidRequest(
            f"{param}: link-local and metadata addresses are not allowed", param=param
        )


def host_of(url: str) -> str:
    """The host of a URL, without its port; empty if it has none."""
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def check_sent(one: Credential) -> Credential:
    """A credential that came over HTTP in the words of some file.

    It names no file of this machine, and no reason for being disabled that nobody knows.

    Raises:
        InvalidRequest: its proxy lies where none does, or a number is none of its kind.
    """
    if not 0 <= one.priority <= NUMBER_LIMIT:
        raise InvalidRequest("priority: must be a whole number of at least 0", param="priority")
    if (one.max_concurrent or 1) > PLACES_LIMIT:
        words = f"maxConcurrent: must be at most {PLACES_LIMIT}"
        raise InvalidRequest(words, param="maxConcurrent")
    proxy = check_proxy_url(one.proxy_url) if one.proxy_url is not None else None
    for name in ("label", "name", "email", "provider"):
        if not (getattr(one, name) or "").isprintable():
            raise InvalidRequest(f"{name}: must have no control characters", param=name)
    reason = one.disabled_reason if one.disabled_reason in REASONS else None
    return replace(one, linked_to=None, proxy_url=proxy, disabled_reason=reason)


def check_same_host(param: str, before: str, after: str, secret: str) -> None:
    """A password or key goes to nobody but the host that it was given for.

    Whoever may set an address but not read the secret would else have it sent to himself.

    Raises:
        InvalidRequest: the secret was for another host.
    """
    if host_of(before) != host_of(after):
        raise InvalidRequest(
            f"{param}: leads to another host than {secret} was given for: take {secret} away "
            "first, and give it anew afterwards",
            param=param,
        )


def _addresses(host: str) -> list[str]:
    """What a host name means, `0x7f.1` and `2130706433` too; nothing if nobody knows it now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]
