"""Where credentials come from. Now: `KIRO_AUTH_TOKEN`, as JSON text or a file's path (S90).

A token that was imported once rotates in our store; `imported_from`, a hash of the token that it
came from, keeps a restart with the same variable from bringing the dead one back (X13).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.stores import Store
from kiroproxy.credentials.stores.document import parse_document
from kiroproxy.errors import ConfigError

SETTING = "KIRO_AUTH_TOKEN"


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds; `problems` name the entries that cannot be used (S91)."""

    credentials: tuple[Credential, ...]
    problems: tuple[str, ...] = ()


def token_hash(credential: Credential) -> str:
    """What an imported credential is recognised by; not the token itself."""
    secret = credential.refresh_token or credential.kiro_api_key or credential.access_token or ""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_auth_token(value: str) -> Found:
    """Read `KIRO_AUTH_TOKEN`; entries with `disabled: true` are skipped.

    Raises:
        ConfigError: it is neither JSON nor the path of a readable file.
    """
    text = value.strip()
    if not text.startswith(("[", "{")):
        try:
            text = Path(text).expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(
                SETTING, f"must be JSON or the path of a readable file ({reason})"
            ) from None
    try:
        document = parse_document(text.encode())
    except ConfigError as error:
        raise ConfigError(SETTING, str(error)) from None
    enabled = tuple(one for one in document.credentials if not one.disabled)
    return Found(enabled, tuple(f"{SETTING}: {problem}" for problem in document.problems))


def import_credentials(store: Store, found: Iterable[Credential]) -> int:
    """Add those that the store does not have yet; returns how many.

    Raises:
        StoreLocked, StoreUnwritable: nothing was added.
    """
    added = 0

    def change(credentials: list[Credential]) -> None:
        nonlocal added
        known = {token_hash(one) for one in credentials}
        known |= {one.imported_from for one in credentials if one.imported_from}
        for one in found:
            origin = token_hash(one)
            if origin not in known:
                known.add(origin)
                credentials.append(replace(one, id=0, imported_from=origin))
                added += 1

    store.edit(change)
    return added
