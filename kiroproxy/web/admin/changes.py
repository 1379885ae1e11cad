"""Notes of changes for the audit log: who, from where, what, and how it was before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kiroproxy.config import mask
from kiroproxy.credentials.model import KEYS, Credential, build_credential
from kiroproxy.credentials.overview import tail
from kiroproxy.ledger.audit import Made
from kiroproxy.masking import MASK
from kiroproxy.web.operator import operator_address
from kiroproxy.web.services import services

SECRETS = (
    "access_token",
    "refresh_token",
    "client_secret",
    "kiro_api_key",
    "proxy_password",
)
SHORTENED = ("client_id", "machine_id")


def note(
    action: str,
    target: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Note a change that the current request has made."""
    note_all([Made(action, target, before, after)])


def note_all(made: Sequence[Made]) -> None:
    """Note many of them."""
    parts = services()
    who = f"admin {mask(parts.config.admin_api_key.strip())}"
    parts.ledger.audit.extend(made, who=who, client=operator_address())


def note_credential(action: str, before: Credential | None, after: Credential | None) -> None:
    """Note what has become different in a credential."""
    note_all([difference(action, before, after)])


def difference(action: str, before: Credential | None, after: Credential | None) -> Made:
    """What has become different in a credential."""
    old = public(before) if before is not None else {}
    new = public(after) if after is not None else {}
    if before is not None and after is not None:
        for name in SECRETS:  # that one has changed is no secret
            if getattr(before, name) != getattr(after, name):
                old[KEYS[name]] = MASK if getattr(before, name) else None
                new[KEYS[name]] = f"{MASK} (another)" if getattr(after, name) else None
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    one = after or before
    return Made(
        action,
        f"credential {one.id if one is not None else 0}",
        {key: old.get(key) for key in changed} if before else None,
        {key: new.get(key) for key in changed} if after else None,
    )


def public(one: Credential) -> dict[str, Any]:
    """A credential as its file has it, without secrets and what it carries unknown to us."""
    hidden: dict[str, Any] = dict.fromkeys(SECRETS) | {
        name: tail(getattr(one, name)) for name in SHORTENED
    }
    shown = build_credential(replace(one, extra={}, imported_from=None, **hidden))
    known = set(KEYS.values())
    return {key: value for key, value in shown.items() if key in known}
