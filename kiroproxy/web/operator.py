"""Who may operate the proxy: whoever has the admin key, and does not guess (S126, S127)."""

import ipaddress

from flask import request

from kiroproxy.errors import LimitExceeded, NotAuthenticated, NotFound
from kiroproxy.web.address import client_address
from kiroproxy.web.auth import presented_keys, require_key
from kiroproxy.web.services import Services, services

WRONG_KEYS = 5
"""A minute, from one address."""
MESSAGE = "Invalid or missing admin API key"


def admit_operator(message: str = MESSAGE) -> Services:
    """Admit an operator; without an admin key in the configuration there is nothing here.

    Wrong keys are counted for all workers. Beyond the limit the right key is refused, too: else
    the answers would still tell a guesser when one is right.

    Raises:
        NotFound: no admin key is configured.
        NotAuthenticated: the shown key is not it.
        LimitExceeded: too many wrong ones came from this address.
    """
    parts = services()
    if not parts.config.admin_api_key.strip():
        raise NotFound(f"No such path: {request.path}")
    if not any(presented_keys(request)):
        raise NotAuthenticated(message)
    name = f"wrong admin keys of {neighbourhood(operator_address())}"
    wrong, wait_s = parts.runtime.recent(name)
    if wrong >= WRONG_KEYS:
        raise _too_many(wait_s)
    try:
        require_key(request, parts.config.admin_api_key, message)
    except NotAuthenticated:
        passage = parts.runtime.attempt(name, WRONG_KEYS)
        if passage is not None and passage.refused:
            raise _too_many(passage.room_s) from None
        raise
    return parts


def operator_address() -> str:
    """Where the current request comes from, as `trustedProxies` has it."""
    return client_address(request, services().config)


def neighbourhood(address: str) -> str:
    """Who counts as one: an IPv4 address, or the 64 bits that one IPv6 customer has at least."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def _too_many(wait_s: float) -> LimitExceeded:
    return LimitExceeded(
        "Too many wrong admin keys from this address; wait a minute.", retry_after_s=wait_s
    )
