"""Tokens, without a network or a clock."""

import pytest

from kiroproxy.simulator.accounts import Accounts, OAuthError, Unauthorized

NOW = 1_000_000.0


def refused(accounts: Accounts, token: str, kind: str = "social") -> str:
    with pytest.raises(OAuthError) as error:
        accounts.redeem(token, kind, NOW)
    assert error.value.body()["error_description"] == "Invalid refresh token provided"
    return error.value.error


def test_a_refresh_token_works_once() -> None:
    accounts = Accounts()
    first = accounts.redeem("brought along", "social", NOW)
    second = accounts.redeem(first["refreshToken"], "social", NOW)
    assert len({"brought along", first["refreshToken"], second["refreshToken"]}) == 3
    assert refused(accounts, "brought along") == "invalid_grant"
    assert refused(accounts, first["refreshToken"]) == "invalid_grant"
    assert (accounts.refreshes(), accounts.reuses()) == (2, 2)
    accounts.redeem(second["refreshToken"], "social", NOW)


def test_tokens_do_not_look_like_truncated_copies() -> None:
    """protocol.md 5.4: below 100 characters or with dots is a display copy."""
    token = Accounts().redeem("x", "social", NOW)["refreshToken"]
    assert len(token) >= 100
    assert "..." not in token


def test_reuse_revokes_the_family_when_asked_to() -> None:
    accounts = Accounts(revoke_on_reuse=True)
    tokens = accounts.redeem("x", "social", NOW)
    accounts.authorize(tokens["accessToken"], "", NOW)
    refused(accounts, "x")
    refused(accounts, tokens["refreshToken"])
    with pytest.raises(Unauthorized):
        accounts.authorize(tokens["accessToken"], "", NOW)


def test_an_account_may_keep_its_token() -> None:
    accounts = Accounts()
    accounts.register({"refreshToken": "kept", "rotate": False}, NOW)
    assert accounts.redeem("kept", "social", NOW)["refreshToken"] == "kept"
    assert accounts.redeem("kept", "social", NOW)["refreshToken"] == "kept"
    assert accounts.reuses() == 0


def test_kinds_answer_in_their_own_shape_and_do_not_mix() -> None:
    accounts = Accounts()
    social = accounts.redeem("s", "social", NOW)
    idc = accounts.redeem("i", "idc", NOW)
    assert set(social) == {"accessToken", "refreshToken", "expiresIn", "profileArn"}
    assert set(idc) == {"accessToken", "refreshToken", "expiresIn", "tokenType"}
    refused(accounts, social["refreshToken"], "idc")
    assert accounts.reuses() == 0


def test_strict_knows_only_its_own() -> None:
    accounts = Accounts(strict=True)
    refused(accounts, "never seen")
    with pytest.raises(Unauthorized):
        accounts.authorize("never seen", "", NOW)
    accounts.register({"refreshToken": "known", "accessToken": "access"}, NOW)
    accounts.redeem("known", "social", NOW)
    accounts.authorize("access", "", NOW)


def test_access_tokens_expire() -> None:
    accounts = Accounts()
    accounts.register({"accessToken": "a", "expiresIn": 10}, NOW)
    accounts.authorize("a", "", NOW + 9)
    with pytest.raises(Unauthorized) as error:
        accounts.authorize("a", "", NOW + 10)
    assert error.value.error.status == 403
    assert error.value.error.message == "The bearer token included in the request is invalid"


def test_keys_need_their_header_and_tokens_must_not_have_it() -> None:
    accounts = Accounts()
    accounts.authorize("ksk_x", "API_KEY", NOW)
    for bearer, token_type in (("ksk_x", ""), ("token", "API_KEY"), ("", "")):
        with pytest.raises(Unauthorized):
            accounts.authorize(bearer, token_type, NOW)


def test_faults_last_as_long_as_they_should() -> None:
    accounts = Accounts()
    accounts.register({"id": "a", "accessToken": "t", "fault": "429 always", "faultTimes": 2}, NOW)
    for _ in range(2):
        with pytest.raises(Unauthorized) as error:
            accounts.authorize("t", "", NOW)
        assert error.value.error.status == 429
    accounts.authorize("t", "", NOW)
    accounts.register({"id": "a", "fault": "suspended", "faultTimes": None}, NOW)
    for _ in range(3):
        with pytest.raises(Unauthorized):
            accounts.authorize("t", "", NOW)
    accounts.register({"id": "a", "fault": None}, NOW)
    assert accounts.authorize("t", "", NOW).calls == 7


def test_spent_quotas_refuse_unless_overages_are_on() -> None:
    accounts = Accounts()
    account = accounts.register({"accessToken": "t", "quota": 1.0, "used": 0.9}, NOW)
    accounts.check_quota(account)
    account.used = 1.0
    with pytest.raises(Unauthorized) as error:
        accounts.check_quota(account)
    assert error.value.error.reason == "MONTHLY_REQUEST_COUNT"
    account.overage = True
    accounts.check_quota(account)


def test_misspelt_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="expiresin"):
        Accounts().register({"expiresin": 1}, NOW)
    with pytest.raises(ValueError, match="no such error"):
        Accounts().register({"fault": "weather"}, NOW)
