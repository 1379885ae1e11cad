"""The same account or not, and what a new sign-in changes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kiroproxy.credentials.identity import others_of, same_account, signed_in_again
from kiroproxy.credentials.imports import token_hash
from kiroproxy.credentials.model import Credential, derive_machine_id

TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)


def one(**fields: Any) -> Credential:
    return Credential(**{"auth_method": "social", "provider": "Google"} | fields)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"email": "a@x"}, {"email": "A@X"}, True),
        ({"email": "a@x"}, {"email": "b@x"}, False),
        ({"email": "a@x"}, {}, None),
        ({}, {}, None),
        ({"email": "a@x"}, {"email": "a@x", "provider": "Github"}, None),
        ({"email": "a@x"}, {"email": "a@x", "auth_method": "idc"}, None),
        (
            {"extra": {"userId": "1"}, "email": "a@x"},
            {"extra": {"userId": "2"}, "email": "a@x"},
            False,
        ),
        ({"extra": {"userId": "1"}}, {"extra": {"userId": "1"}, "provider": "Github"}, True),
        ({"extra": {"userId": 1}}, {"extra": {"userId": 1}}, None),
        ({"profile_arn": "arn:x"}, {"profile_arn": "arn:x"}, None),
    ],
)
def test_same_account(a: dict[str, Any], b: dict[str, Any], same: bool | None) -> None:
    assert same_account(one(**a), one(**b)) is same
    assert same_account(one(**b), one(**a)) is same


def test_others_are_the_certain_ones() -> None:
    rows = [one(id=1, email="a@x"), one(id=2), one(id=3, email="b@x"), one(id=4, email="a@x")]
    assert others_of(rows[3], rows) == (1,)


OLD = one(
    id=7,
    access_token="old-access",
    refresh_token="old-refresh",
    profile_arn="arn:old",
    email="a@x",
    subscription="KIRO PRO",
    region="eu-west-1",
    auth_region="eu-west-2",
    api_region="eu-central-1",
    group="pro",
    priority=5,
    label="mine",
    name="name",
    proxy_url="http://proxy",
    max_concurrent=3,
    linked_to="/home/me/kiro-auth-token.json",
    generation=41,
    extra={"userId": "u", "startUrl": "https://old", "odd": 1},
)
NEW = one(
    auth_method="idc",
    provider="BuilderId",
    access_token="new-access",
    refresh_token="new-refresh",
    client_id="c",
    client_secret="s",
    expires_at=TIME,
    refreshed_at=TIME,
    region="us-east-1",
    email="a@x",
    extra={"userId": "u", "clientSecretExpiresAt": 5},
)


def test_tokens_are_replaced_and_settings_stay() -> None:
    got = signed_in_again(OLD, NEW)
    assert got == replace(
        OLD,
        auth_method="idc",
        provider="BuilderId",
        access_token="new-access",
        refresh_token="new-refresh",
        client_id="c",
        client_secret="s",
        expires_at=TIME,
        refreshed_at=TIME,
        region="us-east-1",
        auth_region=None,
        profile_arn=None,
        subscription=None,
        machine_id=derive_machine_id(OLD),
        linked_to=None,
        generation=42,
        imported_from=token_hash(OLD),
        extra={"userId": "u", "odd": 1, "clientSecretExpiresAt": 5},
    )


def test_a_link_ends_and_the_old_token_is_not_imported_again() -> None:
    """The IDE's file holds another session: before a refresh it would bring its token back."""
    got = signed_in_again(replace(OLD, imported_from="hash"), NEW)
    assert (got.linked_to, got.imported_from) == (None, "hash")


def test_what_kiro_did_not_say_stays_for_the_same_account_only() -> None:
    silent = replace(NEW, auth_method="social", provider="Google", email=None, extra={})
    same = signed_in_again(OLD, silent)
    assert (same.profile_arn, same.email, same.subscription) == ("arn:old", "a@x", "KIRO PRO")
    other = signed_in_again(OLD, replace(silent, email="b@x", extra={"userId": "v"}))
    assert (other.profile_arn, other.email, other.subscription) == (None, "b@x", None)
    assert other.extra["userId"] == "v"


@pytest.mark.parametrize("machine_id", ["", "ab" * 32])
def test_the_machine_id_stays(machine_id: str) -> None:
    """It derives from the refresh token (5.6), which is gone."""
    frozen = signed_in_again(OLD, NEW, machine_id).machine_id
    assert frozen == (None if machine_id else derive_machine_id(OLD))


@pytest.mark.parametrize(
    ("reason", "same", "other"),
    [
        ("InvalidRefreshToken", False, False),
        ("InvalidConfig", False, False),
        ("TooManyRefreshFailures", False, False),
        ("TooManyFailures", False, False),
        ("QuotaExceeded", True, False),
        ("Suspended", True, False),
        ("Manual", True, True),
        (None, True, True),
    ],
)
def test_which_reasons_a_new_sign_in_ends(reason: str | None, same: bool, other: bool) -> None:
    """Those of the tokens; those of the account only if it is another one; never a person's."""
    off = replace(OLD, disabled=True, disabled_reason=reason, disabled_until=TIME)
    stays = signed_in_again(off, NEW)
    assert stays.disabled is same
    assert stays.disabled_reason == (reason if same else None)
    assert signed_in_again(off, replace(NEW, extra={"userId": "v"})).disabled is other
