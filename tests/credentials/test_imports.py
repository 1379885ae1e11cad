"""KIRO_AUTH_TOKEN (S90, S91, X13)."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kiroproxy.credentials.imports import (
    import_credentials,
    read_auth_token,
    read_source,
    token_hash,
)
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import ConfigError

SOCIAL = {"auth": "Social", "refreshToken": "social-" + "s" * 100}
IDC = {
    "auth": "IdC",
    "refreshToken": "idc-" + "i" * 100,
    "clientId": "id",
    "clientSecret": "secret",
    "group": "pro",
    "name": "team",
}


def test_s90_array_single_object_and_path(tmp_path: Path) -> None:
    found = read_auth_token(json.dumps([SOCIAL, IDC]))
    assert [one.auth_method for one in found.credentials] == ["social", "idc"]
    assert (found.credentials[1].group, found.credentials[1].name) == ("pro", "team")
    assert len(read_auth_token(json.dumps(SOCIAL)).credentials) == 1
    file = tmp_path / "token.json"
    file.write_text(json.dumps([SOCIAL]))
    assert read_auth_token(str(file)).credentials == found.credentials[:1]


def test_s90_disabled_entries_are_skipped() -> None:
    found = read_auth_token(json.dumps([SOCIAL | {"disabled": True}, IDC]))
    assert [one.auth_method for one in found.credentials] == ["idc"]


def test_s91_incomplete_entry_is_named_and_the_others_load() -> None:
    found = read_auth_token(json.dumps([{**IDC, "clientSecret": None}, SOCIAL]))
    assert [one.auth_method for one in found.credentials] == ["social"]
    [problem] = found.problems
    assert "credentials[0].clientSecret" in problem


def test_an_unknown_endpoint_is_named_and_the_others_load() -> None:
    found = read_auth_token(json.dumps([IDC | {"endpoint": "desktop"}, SOCIAL]))
    assert [one.auth_method for one in found.credentials] == ["social"]
    [problem] = found.problems
    assert "credentials[0].endpoint: must be ide or cli, not 'desktop'" in problem


@pytest.mark.parametrize("value", ["[{", "/no/such/file", "[1, 2", "\0"])
def test_unusable_value_is_a_named_error(value: str) -> None:
    with pytest.raises(ConfigError, match="KIRO_AUTH_TOKEN"):
        read_auth_token(value)


def test_x13_dead_token_does_not_come_back(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "credentials.json")
    found = read_auth_token(json.dumps([SOCIAL, IDC])).credentials
    assert import_credentials(store, found) == 2

    def rotate(credentials: list) -> None:  # type: ignore[type-arg]
        credentials[0] = replace(credentials[0], refresh_token="rotated-" + "r" * 100)

    store.edit(rotate)
    assert import_credentials(store, found) == 0
    kept = FileStore(tmp_path / "credentials.json").snapshot().credentials
    assert [one.id for one in kept] == [1, 2]
    assert kept[0].refresh_token == "rotated-" + "r" * 100
    assert kept[0].imported_from == token_hash(found[0])
    assert str(found[0].refresh_token) not in str(kept[0].imported_from)


# ---- what other programs write -------------------------------------------------------------

LONG = "t" * 120


def test_kiro_rs_array_and_api_key() -> None:
    entries = [
        {"id": 1, "refreshToken": LONG, "authMethod": "idc", "clientId": "c", "clientSecret": "s"}
        | {"priority": 2, "apiRegion": "eu-central-1", "proxyUrl": "socks5://proxy:1080"},
        {"kiroApiKey": "ksk_example", "authMethod": "api_key", "apiRegion": "us-east-1"},
    ]
    first, second = read_source(json.dumps(entries), "x").credentials
    assert (first.priority, first.api_region, first.proxy_url) == (
        2,
        "eu-central-1",
        "socks5://proxy:1080",
    )
    assert second.bearer == "ksk_example"


def test_s121_the_file_with_groups() -> None:
    top = {
        "default_group": "team",
        "groups": {"pro": {"name": "pro", "settings": {"cooldown_sec": 5}}},
        "api_keys": [{"key": "k", "allowed_groups": ["pro"]}],
        "tokens": [
            {"auth": "Social", "refreshToken": LONG, "group": "pro"},
            {"auth": "IdC", "refreshToken": LONG + "2", "clientId": "c", "clientSecret": "s"},
        ],
    }
    found = read_source(json.dumps(top), "x")
    assert [one.group for one in found.credentials] == ["pro", "team"]
    assert [one.name for one in found.groups] == ["pro"]


def test_kiro_account_manager_nested_and_flat() -> None:
    inner = {"refreshToken": LONG, "clientId": "c", "clientSecret": "s", "authMethod": "idc"}
    nested = {
        "version": 1,
        "accounts": [
            {"email": "me@example.org", "nickname": "Me", "status": "active", "credentials": inner},
            {"id": "uuid", "status": "error", "credentials": inner | {"refreshToken": LONG + "2"}},
        ],
    }
    first, second = read_source(json.dumps(nested), "x").credentials
    assert (first.email, first.label, first.auth_method, first.disabled) == (
        "me@example.org",
        "Me",
        "idc",
        False,
    )
    assert (second.disabled, second.extra["status"]) == (True, "error"), "marked, not chosen"
    flat = inner | {"email": "me@example.org", "label": "L", "status": "active"}
    for top in ([flat], flat):
        [one] = read_source(json.dumps(top), "x").credentials
        assert (one.label, one.extra["status"]) == ("L", "active")


@pytest.mark.parametrize("token", ["t" * 40, LONG + "...", "abc…" + LONG])
def test_s104_truncated_tokens_are_refused_in_words(token: str) -> None:
    found = read_source(json.dumps([{"refreshToken": token}, SOCIAL]), "x")
    assert len(found.credentials) == 1
    assert "truncated" in found.problems[0]
    assert token not in found.problems[0]


def test_the_ides_file_is_linked_and_brings_its_client(tmp_path: Path) -> None:
    """Protocol notes 5.7."""
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {
        "accessToken": "a",
        "refreshToken": LONG,
        "expiresAt": "2099-01-01T00:00:00Z",
        "authMethod": "IdC",
        "provider": "BuilderId",
        "clientIdHash": "0123456789abcdef",
        "region": "us-east-1",
    }
    path = cache / "kiro-auth-token.json"
    path.write_text(json.dumps(token))
    assert "clientId" in read_source(str(path), "x").problems[0]
    registration = {"clientId": "c", "clientSecret": "s", "expiresAt": "2099-01-01T00:00:00Z"}
    (cache / "0123456789abcdef.json").write_text(json.dumps(registration))
    [one] = read_source(str(path), "x").credentials
    assert (one.client_id, one.client_secret, one.linked_to) == ("c", "s", str(path))
    store = FileStore(tmp_path / "credentials.json")
    assert import_credentials(store, [one]) == 1
    assert import_credentials(store, [replace(one, refresh_token="rotated" + LONG)]) == 0
    path.write_text(json.dumps(token | {"clientIdHash": "../../../etc/passwd"}))
    assert read_source(str(path), "x").credentials == ()


def cli_database(path: Path) -> None:
    token = {
        "access_token": "a",
        "refresh_token": LONG,
        "expires_at": "2099-01-01T00:00:00Z",
        "region": "eu-north-1",
        "oauth_flow": "DeviceCode",
    }
    client = {"client_id": "c", "client_secret": "s", "region": "eu-north-1"}
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE auth_kv (key TEXT PRIMARY KEY, value TEXT)")
        db.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB)")
        rows = [
            ("kirocli:odic:token", json.dumps(token)),
            ("kirocli:odic:device-registration", json.dumps(client)),
            ("kirocli:social:token", "not JSON"),
        ]
        db.executemany("INSERT INTO auth_kv VALUES (?, ?)", rows)
        arn = json.dumps({"arn": "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"})
        db.execute("INSERT INTO state VALUES ('api.codewhisperer.profile', ?)", (arn,))


def test_kiro_clis_database_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "data.sqlite3"
    cli_database(path)
    before = path.read_bytes()
    found = read_source(str(path), "x")
    [one] = found.credentials
    assert (one.auth_method, one.client_id, one.region, one.label) == (
        "idc",
        "c",
        "eu-north-1",
        "kiro-cli",
    )
    assert "111122223333" in (one.profile_arn or "")
    assert found.problems == ()
    assert "log in separately" in found.notes[0]
    assert path.read_bytes() == before
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE x (y)")
    with pytest.raises(ConfigError, match="kiro-cli"):
        read_source(str(other), "x")


def test_s121_client_keys_are_handed_on() -> None:
    entry = {"key": "kp_12345678", "name": "n", "allowed_groups": ["pro"]}
    both = {"api_keys": [entry], "tokens": [{"auth": "Social", "refreshToken": LONG}]}
    found = read_source(json.dumps(both), "x")
    assert (len(found.credentials), found.client_keys) == (1, (entry,))
    alone = read_source(json.dumps({"api_keys": [entry]}), "x")
    assert (alone.credentials, alone.problems, alone.client_keys) == ((), (), (entry,))
    assert "kp_12345678" not in repr(alone)
    for other in ({"api_keys": "x", "tokens": []}, {"tokens": []}, []):
        assert read_source(json.dumps(other), "x").client_keys == ()
