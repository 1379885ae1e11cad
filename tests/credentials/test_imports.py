"""KIRO_AUTH_TOKEN (S90, S91, X13)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kiroproxy.credentials.imports import import_credentials, read_auth_token, token_hash
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
