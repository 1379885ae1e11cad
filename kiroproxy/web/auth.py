"""Who is calling: client key and admin key, compared in constant time."""

import hmac
from collections.abc import Iterable, Iterator

from flask import Request

from kiroproxy.errors import DatabaseError, KiroProxyError, NotAuthenticated
from kiroproxy.ledger.keys import ClientKey, KeyRing


def presented_keys(request: Request) -> Iterator[str]:
    """Each key that the caller shows, in either header (S31, X9).

    A header that is sent twice arrives joined by a comma (design, Q17); the whole comes first, for
    the key may hold a comma itself.
    """
    for value in _whole_and_parts(request.headers.get("x-api-key", "")):
        yield value
    for value in _whole_and_parts(request.headers.get("authorization", "")):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            yield key.strip()
        elif not key:
            yield value


def _whole_and_parts(header: str) -> Iterator[str]:
    yield header.strip()
    if "," in header:
        for part in header.split(","):
            yield part.strip()


def require_key(request: Request, key: str, message: str = "Invalid API key") -> None:
    """Admit a caller who shows `key`; an empty key admits nobody.

    Raises:
        NotAuthenticated: no shown key is it.
    """
    if not is_among(key, presented_keys(request)):
        raise NotAuthenticated(message)


def is_among(key: str, shown: Iterable[str]) -> bool:
    """Whether a key is one of those that are shown; an empty one never is."""
    wanted = key.strip().encode()
    found = False
    for one in shown:
        # WSGI hands over the header's bytes as Latin-1
        found |= hmac.compare_digest(one.encode("latin-1", "replace"), wanted)
    return found and bool(wanted)


def identify(request: Request, root_key: str, ring: KeyRing) -> ClientKey | None:
    """Whose key the caller shows: None for the root key, which is `apiKey`.

    Raises:
        NotAuthenticated: it shows none that is good; says why, if one was known.
        DatabaseError: client keys cannot be checked now.
    """
    try:
        require_key(request, root_key)
        return None
    except NotAuthenticated as error:
        refusal: KiroProxyError = error
    for shown in dict.fromkeys(presented_keys(request)):
        try:
            key = ring.find(shown) if shown else None
        except (NotAuthenticated, DatabaseError) as error:
            refusal = error
            continue
        if key is not None:
            return key
    raise refusal
