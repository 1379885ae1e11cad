"""Which credentials are the same account, and what a new sign-in changes in one (pure)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from kiroproxy.credentials.imports import token_hash
from kiroproxy.credentials.model import Credential, freeze_machine_id

USER_ID: Final = "userId"
START_URL: Final = "startUrl"
CLIENT_EXPIRES: Final = "clientSecretExpiresAt"
"""Keys of an entry that only signing in and telling accounts apart need; kept in `extra`."""
CURED: Final = frozenset(
    {"InvalidRefreshToken", "InvalidConfig", "TooManyRefreshFailures", "TooManyFailures"}
)
"""Reasons for being disabled that lie in the tokens: new ones end them."""
MANUAL: Final = "Manual"


def same_account(one: Credential, other: Credential) -> bool | None:
    """Whether two credentials are one account; None if that cannot be told.

    Kiro's own user ids decide. Else the address does, within one kind of sign-in. A profile ARN
    does not: everybody in an organisation has the same.
    """
    ids = [credential.extra.get(USER_ID) for credential in (one, other)]
    if all(isinstance(id_, str) and id_ for id_ in ids):
        return bool(ids[0] == ids[1])
    if not one.email or not other.email:
        return None
    kinds = [(one.auth_method, (one.provider or "").lower()) for one in (one, other)]
    if kinds[0] != kinds[1]:
        return None
    return one.email.casefold() == other.email.casefold()


def others_of(new: Credential, credentials: Iterable[Credential]) -> tuple[int, ...]:
    """The ids of the credentials that are certainly the same account."""
    return tuple(one.id for one in credentials if one.id != new.id and same_account(one, new))


def signed_in_again(old: Credential, new: Credential, machine_id: str = "") -> Credential:
    """The credential `old` with the tokens of the sign-in `new`.

    What the operator has set stays. `generation` moves, so that a refresh of the old token that
    broke off is over. A link to another program's file ends: its token is not ours any more.
    """
    other_account = same_account(old, new) is False
    same_kind = old.auth_method == new.auth_method and not other_account
    extra = {
        key: value for key, value in old.extra.items() if key not in (START_URL, CLIENT_EXPIRES)
    }
    if other_account:
        extra.pop(USER_ID, None)
    renewed = replace(
        freeze_machine_id(old, machine_id),
        auth_method=new.auth_method,
        access_token=new.access_token,
        refresh_token=new.refresh_token,
        expires_at=new.expires_at,
        refreshed_at=new.refreshed_at,
        client_id=new.client_id,
        client_secret=new.client_secret,
        kiro_api_key=None,
        token_endpoint=None,
        provider=new.provider,
        region=new.region,
        auth_region=None,
        profile_arn=new.profile_arn or (old.profile_arn if same_kind else None),
        email=new.email or (old.email if same_kind else None),
        subscription=new.subscription or (old.subscription if same_kind else None),
        linked_to=None,
        generation=old.generation + 1,
        imported_from=old.imported_from or token_hash(old),
        extra=extra | dict(new.extra),
    )
    theirs = old.disabled_reason != MANUAL and old.disabled_reason is not None
    if old.disabled and (old.disabled_reason in CURED or (other_account and theirs)):
        return replace(renewed, disabled=False, disabled_reason=None, disabled_until=None)
    return renewed
