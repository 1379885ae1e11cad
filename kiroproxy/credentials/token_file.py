"""The Kiro IDE's token file by itself: read it, renew its tokens, serve from it (S149 to S157).

The file stays the IDE's: keys that we do not know keep their place and their values.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import filelock

from kiroproxy.credentials.imports import registration, token_hash
from kiroproxy.credentials.model import Credential, build_time, parse_credential
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.renewal import Redeemer
from kiroproxy.credentials.stores import Store, durable
from kiroproxy.errors import ConfigError, RefreshFailed, StoreLocked

LOCK_S: Final = 40.0
"""Longer than another refresh may take: 5 s to connect, 30 s to answer."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the file says; empty where it says nothing. `expires_at` is as it is written there."""

    access_token: str
    refresh_token: str
    expires_at: str


def read_tokens(path: Path) -> Tokens:
    """Read the file.

    Raises:
        ConfigError: it is missing or no token file; names the path.
    """
    return _tokens(_read(path))


def _tokens(entry: dict[str, Any]) -> Tokens:
    def text(key: str) -> str:
        value = entry.get(key)
        return "" if value is None else str(value)

    return Tokens(text("accessToken"), text("refreshToken"), text("expiresAt"))


def _read(path: Path) -> dict[str, Any]:
    name = str(path)
    try:
        entry = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            name, "there is no such file: sign in to the Kiro IDE, or name the file"
        ) from None
    except OSError as error:
        raise ConfigError(name, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigError(name, "is not JSON: sign in to the Kiro IDE again") from None
    if not isinstance(entry, dict):
        raise ConfigError(name, "must hold one JSON object")
    for key in ("accessToken", "refreshToken"):
        if not isinstance(entry.get(key, ""), str | None):
            raise ConfigError(name, f"{key} must be a string")
    if not entry.get("accessToken") and not entry.get("refreshToken"):
        raise ConfigError(name, "holds neither accessToken nor refreshToken")
    return entry


def read_credential(path: Path) -> Credential:
    """The file as a credential that is linked to it, with its client registration if it has one.

    Raises:
        ConfigError: it is missing, or cannot be used; names the path.
    """
    return _credential(_read(path), path)


def _credential(entry: dict[str, Any], path: Path) -> Credential:
    if entry.get("clientIdHash"):
        entry = registration(str(entry["clientIdHash"]), path) | entry
    return replace(parse_credential(entry, str(path)), linked_to=str(path))


# ---- renewing ------------------------------------------------------------------------------


def refresh(path: Path, redeemer: Redeemer, now: datetime) -> Tokens:
    """Redeem the refresh token and write the new ones into the file, or leave it as it is.

    Room for the new content is taken before the token is redeemed. If the file has got another
    token meanwhile (the IDE, or a second call), that one stays.

    Raises:
        ConfigError: the file cannot be used.
        RefreshFailed: the auth server gave no token.
        StoreUnwritable, StoreLocked: the file could not be written: nothing was redeemed.
    """
    target = Path(os.path.realpath(path))
    asked = _read(path)
    with _alone(target):
        entry = _read(path)
        if entry.get("refreshToken") != asked.get("refreshToken"):
            return _tokens(entry)
        size = len(_written(entry))
        with durable.Replacement(target, size) as room:
            outcome = redeemer.redeem(_credential(entry, path), now)
            latest = _read(path)
            if latest.get("refreshToken") != entry.get("refreshToken"):
                return _tokens(latest)
            if isinstance(outcome, RefreshFailure):
                raise RefreshFailed(outcome.message)
            latest |= _renewed(outcome)
            room.write(_written(latest))
            room.rename()
    return _tokens(latest)


def _renewed(new: Credential) -> dict[str, Any]:
    found = {
        "accessToken": new.access_token,
        "refreshToken": new.refresh_token,
        "expiresAt": build_time(new.expires_at) if new.expires_at else None,
        "profileArn": new.profile_arn,
    }
    return {key: value for key, value in found.items() if value is not None}


def _written(entry: dict[str, Any]) -> bytes:
    """As the IDE writes it: two spaces, no line end after it."""
    return json.dumps(entry, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One refresh of a file at a time: a token can be redeemed once."""
    lock = filelock.FileLock(
        target.with_name(f".{target.name}.lock"), timeout=LOCK_S, mode=0o600, poll_interval=0.05
    )
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StoreLocked(f"{target} is being refreshed by another process") from None
    except OSError as error:
        raise durable.unwritable(target, error) from error
    try:
        yield
    finally:
        lock.release()


# ---- serving -------------------------------------------------------------------------------


def serve_only(store: Store, path: Path) -> Credential:
    """Make the file's credential, linked, the store's only one (S157).

    What the store knows of it already, its machine id and generation, stays; that it was disabled
    does not, for whoever starts a server has often just signed in again.

    Raises:
        ConfigError: the file cannot be used; the store is as it was.
    """
    new = read_credential(path)

    def change(credentials: list[Credential]) -> list[Credential]:
        known = next((one for one in credentials if one.linked_to == new.linked_to), None)
        if known is None:
            return [replace(new, imported_from=token_hash(new))]
        same = known.refresh_token == new.refresh_token
        return [
            replace(
                new,
                id=known.id,
                generation=known.generation + (not same),
                machine_id=new.machine_id or known.machine_id,
                profile_arn=new.profile_arn or known.profile_arn,
                subscription=known.subscription,
                imported_from=known.imported_from,
                refreshed_at=known.refreshed_at if same else None,
            )
        ]

    return store.edit(change).credentials[0]
