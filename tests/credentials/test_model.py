import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.credentials import model
from kiroproxy.credentials.model import Credential, build_credential, parse_credential
from kiroproxy.errors import ConfigError

ARN = "arn:aws:codewhisperer:eu-central-1:111122223333:profile/EXAMPLE"


def parse(**raw: Any) -> Credential:
    return parse_credential({"refreshToken": "r", **raw})


@pytest.mark.parametrize(
    ("raw", "method"),
    [
        ({"authMethod": "social"}, "social"),
        ({"auth": "Social"}, "social"),
        ({"auth": "IdC", "clientId": "c", "clientSecret": "s"}, "idc"),
        ({"authMethod": "builder-id", "clientId": "c", "clientSecret": "s"}, "idc"),
        ({"authMethod": "IAM", "clientId": "c", "clientSecret": "s"}, "idc"),
        ({"authMethod": "API_KEY", "kiroApiKey": "ksk_example"}, "api_key"),
        ({"authMethod": "external-idp"}, "external_idp"),
        ({"clientId": "c", "clientSecret": "s"}, "idc"),
        ({"clientId": "c"}, "social"),
        ({}, "social"),
        ({"authMethod": None, "auth": None}, "social"),
    ],
)
def test_auth_method_in_any_spelling(raw: dict[str, Any], method: str) -> None:
    """X8, S100."""
    assert parse(**raw).auth_method == method


def test_a_lone_api_key_is_one() -> None:
    credential = parse_credential({"kiroApiKey": " ksk_example\n"})
    assert (credential.auth_method, credential.bearer) == ("api_key", "ksk_example")
    assert credential.token_type == "API_KEY"
    assert not credential.renewable


@pytest.mark.parametrize(
    ("raw", "setting"),
    [
        ("text", "x"),
        ({}, "x.refreshToken"),
        ({"refreshToken": "r", "authMethod": "magic"}, "x.authMethod"),
        ({"refreshToken": "r", "authMethod": "idc", "clientId": "c"}, "x.clientSecret"),
        ({"refreshToken": "r", "authMethod": "idc"}, "x.clientId"),
        ({"refreshToken": "r", "authMethod": "api_key"}, "x.kiroApiKey"),
        ({"refreshToken": 5}, "x.refreshToken"),
        ({"refreshToken": "r", "accessToken": "two words"}, "x.accessToken"),
        ({"refreshToken": "r", "region": "evil.example/#"}, "x.region"),
        ({"refreshToken": "r", "priority": "high"}, "x.priority"),
        ({"refreshToken": "r", "maxConcurrent": 0}, "x.maxConcurrent"),
        ({"refreshToken": "r", "endpoint": "desktop"}, "x.endpoint"),
        ({"refreshToken": "r", "endpoint": 5}, "x.endpoint"),
    ],
)
def test_errors_name_the_key(raw: object, setting: str) -> None:
    """S91."""
    with pytest.raises(ConfigError) as error:
        parse_credential(raw, "x")
    assert error.value.setting == setting


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-12-31T02:32:45.144Z", datetime(2026, 12, 31, 2, 32, 45, 144000, UTC)),
        ("2026-12-31T02:32:45.123456789Z", datetime(2026, 12, 31, 2, 32, 45, 123456, UTC)),
        ("2026-12-31T04:32:45+02:00", datetime(2026, 12, 31, 2, 32, 45, tzinfo=UTC)),
        ("2026-12-31T02:32:45", datetime(2026, 12, 31, 2, 32, 45, tzinfo=UTC)),
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        (1767225600000, datetime(2026, 1, 1, tzinfo=UTC)),
        ("1767225600000", datetime(2026, 1, 1, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        (True, None),
        ([], None),
        (10**400, None),
        ("9" * 5000, None),
    ],
)
def test_times(value: object, expected: datetime | None) -> None:
    """X12: what cannot be read counts as expired; epoch milliseconds are accepted."""
    assert model.parse_time(value) == expected
    assert parse(expiresAt=value).expires_at == expected


def test_unknown_keys_and_unchanged_values_survive() -> None:
    """S94: also their order, their spelling and an unreadable expiresAt."""
    raw = {
        "x": [1, {"y": None}],
        "auth": "IdC",
        "refreshToken": "r",
        "clientId": "c",
        "clientSecret": "s",
        "expiresAt": "soon",
        "priority": 0,
        "provider": None,
        "access_token": "not ours",
    }
    old = replace(parse_credential(raw), id=7)
    new = replace(old, access_token="a", generation=1)
    written = build_credential(new, raw, old)
    assert written["x"] == raw["x"]
    assert written["access_token"] == "not ours"
    assert written["expiresAt"] == "soon"
    assert written["authMethod"] == "idc"  # X8
    assert "auth" not in written
    assert list(written)[:2] == ["x", "refreshToken"]
    assert written["id"] == 7
    again = parse_credential(written)
    assert again == new


@pytest.mark.parametrize(
    ("said", "known"), [(None, None), ("", None), ("ide", "ide"), (" CLI ", "cli")]
)
def test_endpoints(said: str | None, known: str | None) -> None:
    assert parse(endpoint=said).endpoint == known


def test_an_unknown_endpoint_is_named_but_not_at_length() -> None:
    one = model.parse_stored({"refreshToken": "r", "endpoint": "x" * 500}, "x")
    assert model.unknown_endpoint(one) == f"must be ide or cli, not {'x' * 40!r}"


texts = st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(
    refresh=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    access=texts,
    label=texts,
    priority=st.integers(-5, 5),
    disabled=st.booleans(),
    expires=st.none() | st.datetimes(timezones=st.just(UTC)).filter(lambda t: t.year >= 1000),
    extra=st.dictionaries(st.text().filter(lambda k: k not in model._KNOWN), st.integers()),
)
def test_what_is_built_is_parsed(
    refresh: str,
    access: str | None,
    label: str | None,
    priority: int,
    disabled: bool,
    expires: datetime | None,
    extra: dict[str, int],
) -> None:
    if expires is not None:
        expires = expires.replace(microsecond=expires.microsecond // 1000 * 1000)
    credential = Credential(
        id=1,
        refresh_token=refresh,
        access_token=access,
        label=label,
        priority=priority,
        disabled=disabled,
        expires_at=expires,
        extra=extra,
    )
    assert parse_credential(json.loads(json.dumps(build_credential(credential)))) == credential


def test_no_secret_in_repr() -> None:
    """S168."""
    credential = parse(
        accessToken="SECRET", clientSecret="SECRET", kiroApiKey="SECRET", proxyPassword="SECRET",
        clientId="SECRET", note="SECRET", email="SECRET",
    )  # fmt: skip
    assert "SECRET" not in repr(replace(credential, refresh_token="SECRET"))


@pytest.mark.parametrize(
    ("token", "word"), [("x" * 99, "99 characters"), ("x" * 90 + "..." + "x" * 90, "display copy")]
)
def test_truncated_refresh_tokens(token: str, word: str) -> None:
    """S104."""
    words = model.check_refresh_token(token)
    assert words is not None
    assert "truncated" in words
    assert word in words
    assert token not in words


def test_whole_refresh_tokens() -> None:
    assert model.check_refresh_token("x" * 100) is None


@pytest.mark.parametrize(
    ("raw", "auth", "api"),
    [
        ({}, "config-auth", "config-api"),
        ({"region": "eu-north-1"}, "eu-north-1", "config-api"),
        ({"region": "eu-north-1", "authRegion": "eu-west-1"}, "eu-west-1", "config-api"),
        ({"profileArn": ARN}, "config-auth", "eu-central-1"),
        ({"profileArn": ARN, "apiRegion": "us-east-1"}, "config-auth", "us-east-1"),
        ({"profileArn": model.BUILDER_ID_ARN}, "config-auth", "config-api"),
        ({"profileArn": "arn:aws:codewhisperer::x"}, "config-auth", "config-api"),
        ({"profileArn": "nonsense"}, "config-auth", "config-api"),
    ],
)
def test_regions(raw: dict[str, str], auth: str, api: str) -> None:
    """protocol 2.2; S86."""
    credential = parse(**raw)
    assert model.effective_auth_region(credential, "config-auth", "config") == auth
    assert model.effective_api_region(credential, "config-api", "config") == api
    assert model.effective_auth_region(parse(), "", "config") == "config"
    assert model.effective_api_region(parse(), "", "config") == "config"


@pytest.mark.parametrize(
    ("raw", "chat", "control"),
    [
        ({"profileArn": ARN}, ARN, ARN),
        ({}, model.SOCIAL_ARN, None),
        ({"profileArn": model.SOCIAL_ARN}, model.SOCIAL_ARN, None),
        ({"clientId": "c", "clientSecret": "s"}, model.BUILDER_ID_ARN, None),
        ({"clientId": "c", "clientSecret": "s", "provider": "Enterprise"}, None, None),
        ({"authMethod": "api_key", "kiroApiKey": "ksk_example", "profileArn": ARN}, None, None),
        ({"authMethod": "external_idp"}, None, None),
    ],
)
def test_profile_arns(raw: dict[str, str], chat: str | None, control: str | None) -> None:
    """protocol 2.5, S105."""
    credential = parse(**raw)
    assert model.chat_profile_arn(credential) == chat
    assert model.control_profile_arn(credential) == control


def test_derived_machine_ids() -> None:
    """protocol 5.6 gives these checks; S82."""
    social = parse(refreshToken="example-refresh-token")
    key = parse_credential({"kiroApiKey": "ksk_example"})
    assert model.effective_machine_id(social) == (
        "e0e27e2c702bffe5a31740da64d2a5935f478fbcc8573ea5a1f6caef9e245302"
    )
    assert model.effective_machine_id(key) == (
        "b4531950c373547073747bf3a84166ef70e766a40568154818f3aab3e7c18153"
    )
    assert len(model.derive_machine_id(Credential(access_token="a"))) == 64


UUID = "00112233-4455-6677-8899-AABBCCDDEEFF"
PLAIN = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AB" * 32, "ab" * 32),
        (UUID, PLAIN * 2),
        (PLAIN, PLAIN * 2),
        ("ab" * 31, None),
        ("zz" * 32, None),
        ("", None),
        (None, None),
    ],
)
def test_machine_ids_are_normalised(text: str | None, expected: str | None) -> None:
    assert model.normalise_machine_id(text) == expected


def test_machine_id_precedence_and_freezing() -> None:
    own, config = "ab" * 32, "cd" * 32
    assert model.effective_machine_id(parse(machineId=own), config) == own
    assert model.effective_machine_id(parse(machineId="bad"), config) == config
    frozen = model.freeze_machine_id(parse())
    rotated = replace(frozen, refresh_token="another")
    assert model.effective_machine_id(rotated) == model.effective_machine_id(parse())
    assert model.freeze_machine_id(parse(), config).machine_id is None
    assert model.freeze_machine_id(parse(machineId=own)).machine_id == own
