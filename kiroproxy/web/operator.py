"""Who may operate the proxy: whoever has the admin key, and does not guess (S126, S127).

Two things are counted of each address, for a minute and over all workers. Requests with a wrong key
are refused unseen beyond the fifth, as far as they are wrong. After five *different* wrong keys all
are, the right one too: else the answers would tell a guesser which guess was right. A key that is
merely out of date, such as that of a forgotten tab or a scraper, is one guess however often it
comes, and locks nobody out who knows the new one.
"""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Sequence

from flask import request

from kiroproxy.errors import LimitExceeded, NotAuthenticated, NotFound
from kiroproxy.web.address import believed_address, client_address
from kiroproxy.web.auth import is_among, presented_keys
from kiroproxy.web.services import Services, services

log = logging.getLogger(__name__)

WRONG_KEYS = 5
"""A minute, from one address."""
MOST_SHOWN = 6
"""Keys of one request that are looked at: two headers, each sent twice, each part and the whole."""
MESSAGE = "Invalid or missing admin API key"


def admit_operator(message: str = MESSAGE) -> Services:
    """Admit an operator; without an admin key in the configuration there is nothing here.

    Raises:
        NotFound: no admin key is configured.
        NotAuthenticated: the shown key is not it.
        LimitExceeded: too many wrong ones came from this address.
    """
    parts = services()
    if not parts.config.admin_api_key.strip():
        raise NotFound(f"No such path: {request.path}")
    shown = list(dict.fromkeys(filter(None, presented_keys(request))))[:MOST_SHOWN]
    if not shown:
        raise NotAuthenticated(message)
    place = neighbourhood(operator_address())
    guesses = f"guessed admin keys of {place}"
    tried, wait_s = parts.runtime.recent(guesses)
    if tried >= WRONG_KEYS:
        raise _too_many(parts, place, wait_s)
    if is_among(parts.config.admin_api_key, shown):
        return parts
    _count_guesses(parts, guesses, shown)
    passage = parts.runtime.attempt(f"wrong admin keys of {place}", WRONG_KEYS)
    if passage is not None and passage.refused:
        raise _too_many(parts, place, passage.room_s)
    raise NotAuthenticated(message)


def _count_guesses(parts: Services, name: str, shown: Sequence[str]) -> None:
    """Count each key that was not tried in this minute: one request may show several (Q17).

    What is kept of a key is an HMAC under the right one, which nobody can turn back without it.
    """
    secret = parts.config.admin_api_key.encode()
    for key in shown:
        mark = hmac.new(secret, key.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]
        known, _ = parts.runtime.recent(f"{name}: {mark}")
        if known:
            continue
        parts.runtime.attempt(f"{name}: {mark}", WRONG_KEYS)
        passage = parts.runtime.attempt(name, WRONG_KEYS)
        if passage is None or passage.refused:
            return


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


def _too_many(parts: Services, place: str, wait_s: float) -> LimitExceeded:
    """Refuse, and tell the log once a minute: it may be an attack, or a forgotten setting."""
    if parts.runtime.claim(f"told of wrong admin keys of {place}", 60.0):
        unseen = "x-forwarded-for" in request.headers and place == _peer()
        hint = ": a proxy that trustedProxies does not name, so its clients count as one"
        log.warning("too many wrong admin keys from %s%s", place, hint if unseen else "")
    return LimitExceeded(
        "Too many wrong admin keys from this address; wait a minute.", retry_after_s=wait_s
    )


def _peer() -> str:
    """Who has opened the connection, as a neighbourhood."""
    return neighbourhood(believed_address(request.environ.get("REMOTE_ADDR", ""), "", ()))
