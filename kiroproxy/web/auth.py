"""Who is calling: client key and admin key, compared in constant time."""

import hmac
from collections.abc import Iterator

from flask import Request

from kiroproxy.errors import NotAuthenticated


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
    wanted = key.strip().encode()
    admitted = False
    for shown in presented_keys(request):
        # WSGI hands over the header's bytes as Latin-1
        admitted |= hmac.compare_digest(shown.encode("latin-1", "replace"), wanted)
    if not admitted or not wanted:
        raise NotAuthenticated(message)
