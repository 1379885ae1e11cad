"""The Kiro IDE's token file by itself (S149, S150, S157)."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials import token_file
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import ConfigError, RefreshFailed, StoreLocked, StoreUnwritable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = {
    "accessToken": "old-access",
    "refreshToken": "old-refresh",
    "expiresAt": "2025-12-31T23:00:00.000Z",
    "provider": "Google",
    "authMethod": "social",
    "ours": {"not": ["ours"]},
}


class Server:
    """An auth server that gives one token after the other; `meanwhile` runs during the call."""

    def __init__(self, answer: RefreshFailure | None = None, meanwhile: Any = None) -> None:
        self.seen: list[Credential] = []
        self._answer = answer
        self._meanwhile = meanwhile

    def redeem(self, credential: Credential, now: datetime) -> Credential | RefreshFailure:
        from dataclasses import replace

        self.seen.append(credential)
        if self._meanwhile:
            self._meanwhile()
        number = len(self.seen)
        return self._answer or replace(
            credential,
            access_token=f"access-{number}",
            refresh_token=f"refresh-{number}",
            expires_at=datetime(2026, 1, 1, number, tzinfo=UTC),
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "kiro-auth-token.json"
    file.write_text(json.dumps(ENTRY))
    file.chmod(0o644)
    return file


def test_a_refresh_rewrites_the_file_and_keeps_the_rest(path: Path) -> None:
    found = token_file.refresh(path, Server(), NOW)
    assert found == token_file.Tokens("access-1", "refresh-1", "2026-01-01T01:00:00.000Z")
    expected = ENTRY | {
        "accessToken": "access-1",
        "refreshToken": "refresh-1",
        "expiresAt": "2026-01-01T01:00:00.000Z",
    }
    assert path.read_text() == json.dumps(expected, indent=2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_refusal_leaves_the_file_alone(path: Path) -> None:
    before = path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns
    with pytest.raises(RefreshFailed, match="no"):
        token_file.refresh(path, Server(RefreshFailure("no")), NOW)
    assert (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) == before
    assert not list(path.parent.glob("*.tmp-*"))
    assert not list(path.parent.glob(".*.tmp-*"))


@pytest.mark.parametrize("answer", [None, RefreshFailure("spent", disable="InvalidRefreshToken")])
def test_a_token_that_came_meanwhile_stays(path: Path, answer: RefreshFailure | None) -> None:
    """The IDE's new sign-in, or its refresh that was faster than ours."""
    newer = ENTRY | {"refreshToken": "of the IDE", "accessToken": "newer"}
    server = Server(answer, lambda: path.write_text(json.dumps(newer)))
    assert token_file.refresh(path, server, NOW).access_token == "newer"
    assert json.loads(path.read_text()) == newer


def test_keys_that_came_meanwhile_stay(path: Path) -> None:
    server = Server(meanwhile=lambda: path.write_text(json.dumps(ENTRY | {"new": 1})))
    token_file.refresh(path, server, NOW)
    assert json.loads(path.read_text())["new"] == 1


def test_two_at_once_redeem_one_token_once(path: Path) -> None:
    """The second takes what the first has got."""
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        go_on.wait(5)

    server = Server(meanwhile=wait)
    results: list[token_file.Tokens] = []
    threads = [
        threading.Thread(target=lambda: results.append(token_file.refresh(path, server, NOW)))
        for _ in range(2)
    ]
    threads[0].start()
    inside.wait(5)
    threads[1].start()
    threading.Timer(0.2, go_on.set).start()
    for thread in threads:
        thread.join()
    assert [one.access_token for one in results] == ["access-1", "access-1"]
    assert len(server.seen) == 1


def test_a_file_that_cannot_be_replaced_costs_no_token(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    monkeypatch.setattr(token_file, "LOCK_S", 0.1)
    with token_file._alone(path), pytest.raises(StoreLocked):
        token_file.refresh(path, server, NOW)
    monkeypatch.setattr(token_file.durable, "why_not_replaceable", lambda target: "it is mounted")
    with pytest.raises(StoreUnwritable, match="mounted"):
        token_file.refresh(path, server, NOW)
    assert not server.seen


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    token_file.refresh(link, Server(), NOW)
    assert link.is_symlink()
    assert json.loads(path.read_text())["accessToken"] == "access-1"


def test_identity_center_brings_its_registration(path: Path) -> None:
    path.write_text(json.dumps(ENTRY | {"authMethod": "IdC", "clientIdHash": "abcdef0123456789"}))
    registration = {"clientId": "id", "clientSecret": "secret", "expiresAt": "2027"}
    path.with_name("abcdef0123456789.json").write_text(json.dumps(registration))
    server = Server()
    token_file.refresh(path, server, NOW)
    (seen,) = server.seen
    assert (seen.auth_method, seen.client_id, seen.client_secret) == ("idc", "id", "secret")
    assert "clientSecret" not in json.loads(path.read_text())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "must hold one JSON object"),
        ("{}", "holds neither"),
        ('{"accessToken": 5}', "accessToken must be a string"),
        ('{"refreshToken": ["x"]}', "refreshToken must be a string"),
    ],
)
def test_files_that_are_none_are_named(path: Path, content: str | None, reason: str) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ConfigError, match=reason) as error:
        token_file.read_tokens(path)
    assert str(path) in str(error.value)


def test_odd_files_are_read(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"accessToken": "a", "refreshToken": null, "expiresAt": 17}')
    assert token_file.read_tokens(path) == token_file.Tokens("a", "", "17")


# ---- the store of `server` -----------------------------------------------------------------


def stored(store: FileStore) -> list[Credential]:
    return list(store.snapshot().credentials)


def test_the_file_is_the_only_credential_and_linked(path: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state" / "credentials.json")
    store.prepare()
    (tmp_path / "state" / "credentials.json").write_text('[{"refreshToken": "%s"}]' % ("x" * 120))
    token_file.serve_only(store, path)
    (one,) = stored(store)
    assert (one.linked_to, one.refresh_token) == (str(path), "old-refresh")
    assert "ours" not in path.parent.joinpath("state").name


def test_a_new_start_keeps_who_it_is(path: Path, tmp_path: Path) -> None:
    """And takes a new sign-in: the machine id is the same, the account is not off any more."""
    from dataclasses import replace

    store = FileStore(tmp_path / "credentials.json")
    token_file.serve_only(store, path)
    store.edit(
        lambda found: [
            replace(found[0], machine_id="ab" * 32, disabled=True, disabled_reason="Manual")
        ]
    )
    token_file.refresh(path, Server(), NOW)
    token_file.serve_only(store, path)
    (one,) = stored(store)
    assert (one.machine_id, one.disabled, one.access_token) == ("ab" * 32, False, "access-1")


def test_a_broken_file_changes_no_store(path: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "credentials.json")
    token_file.serve_only(store, path)
    before = stored(store)
    path.write_text("{")
    with pytest.raises(ConfigError):
        token_file.serve_only(store, path)
    assert stored(store) == before
