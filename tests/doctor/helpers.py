"""A patient made of two files in a directory."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kiroproxy.app import build_services
from kiroproxy.config import load_config
from kiroproxy.doctor import Finding, Patient

REFRESH = "refresh-token-of-a-test-" + "x" * 100


def credential(**fields: Any) -> dict[str, Any]:
    """A credential whose access token lives long."""
    return {
        "id": 1,
        "refreshToken": REFRESH,
        "accessToken": "access-token-of-a-test",
        "expiresAt": "2099-01-01T00:00:00Z",
        "authMethod": "social",
    } | fields


def make(
    place: Path,
    config: Mapping[str, Any] | None = None,
    credentials: Any = None,
    *,
    upstream: str = "http://127.0.0.1:9",
    variables: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    refresh: bool = False,
) -> Patient:
    """Write the files and join the parts, as the command does."""
    base = {
        "apiKey": "sk-client",
        "port": 1,
        "apiUrl": upstream,
        "socialAuthUrl": upstream,
        "oidcUrl": upstream,
    }
    place.mkdir(exist_ok=True)
    for name, content in (
        ("config.json", base | dict(config or {})),
        ("credentials.json", [credential()] if credentials is None else credentials),
    ):
        (place / name).write_text(json.dumps(content))
        (place / name).chmod(0o600)
    loaded = load_config(environ={}, cwd=place)
    parts = build_services(loaded)
    return Patient(
        config=loaded,
        pool=parts.pool,
        voice=parts.client.voice,
        refresh=refresh,
        home=place / "home",
        variables=lambda name: dict(variables or {}).get(name, ""),
        now=now,
    )


def states(findings: Iterable[Finding]) -> list[str]:
    """What came out."""
    return [one.state for one in findings]


def only(findings: Iterable[Finding], state: str) -> dict[str, str]:
    """The single finding, which must be of that state, in English."""
    (one,) = findings
    assert one.state == state, one
    assert bool(one.remedy) == (state != "ok")
    return one.as_json()
