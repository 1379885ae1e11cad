"""An application with its admin API, whose Kiro answers from a script."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.errors import Unreachable
from kiroproxy.upstream.usage import Balances, Usage
from tests.web.conftest import ADMIN, KEY, Place

OPERATOR = {"x-api-key": ADMIN}
TOKEN = "refresh-token-of-somebody-" + "y" * 100


class ScriptedAuth:
    """Renews every token, but those that it refuses."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.asked: list[str] = []

    def redeem(self, credential: Credential, now: datetime) -> Credential | RefreshFailure:
        token = credential.refresh_token or ""
        self.asked.append(token)
        if token in self.refused:
            return RefreshFailure("the token is unknown", disable="InvalidRefreshToken")
        return replace(
            credential,
            access_token=f"access-token-{len(self.asked)}-" + "z" * 40,
            refresh_token=f"{token[:60]}-{len(self.asked)}-" + "n" * 80,
            expires_at=datetime(2099, 1, 1, tzinfo=UTC),
            refreshed_at=now,
            generation=credential.generation + 1,
        )


class ScriptedAccounts:
    """Says what it was told to say about an account."""

    def __init__(self) -> None:
        self.usages: dict[int, Usage] = {}
        self.asked: list[int] = []

    def usage(self, credential: Credential) -> Usage:
        self.asked.append(credential.id)
        if credential.id not in self.usages:
            raise Unreachable("nobody there")
        return self.usages[credential.id]


class Desk:
    """The operator's client, and the parts behind it."""

    def __init__(self, place: Place, files: Path) -> None:
        self.place = place
        self.parts = place.services
        self.files = files
        self.auth = ScriptedAuth()
        self.accounts = ScriptedAccounts()
        self.parts.pool.renewals._refresher = cast(Any, self.auth)
        self.parts.balances = Balances(self.parts.pool, self.accounts)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        headers = OPERATOR | more.pop("headers", {})
        if body is not None:
            more["json"] = body
        return self.place.client.open(f"/api/admin{path}", method=method, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        answer = self.call("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    def post(self, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        return self.send("POST", path, body, status, **more)

    def send(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        answer = self.call(method, path, body, **more)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def refused(
        self, method: str, path: str, body: Any = None, status: int = 400
    ) -> dict[str, Any]:
        """The error object of what must not work."""
        error: dict[str, Any] = self.send(method, path, body, status)["error"]
        return error

    def stored(self) -> list[dict[str, Any]]:
        found = json.loads((self.files / "credentials.json").read_text("utf-8"))
        return cast("list[dict[str, Any]]", found)

    def actions(self) -> list[str]:
        """What the audit log has, newest first."""
        return [one["action"] for one in self.get("/audit")["entries"]]


@pytest.fixture
def open_desk(
    make: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Desk]:
    """Opens desks; each setting as `Config` calls it. Relative paths start from `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def build(credentials: int = 2, **settings: Any) -> Desk:
        document = {"apiKey": KEY, "adminApiKey": ADMIN}
        (tmp_path / "config.json").write_text(json.dumps(document), "utf-8")
        return Desk(make(credentials, **settings), tmp_path)

    return build


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk()
