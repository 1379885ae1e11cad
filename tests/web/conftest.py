"""The application with a scripted Kiro, for Flask's test client."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from kiroproxy.app import create_app
from kiroproxy.config import load_config
from kiroproxy.credentials.model import Credential
from kiroproxy.eventstream import build_event
from kiroproxy.kiro.models import BUILT_IN, Model
from kiroproxy.kiro.request import KiroRequest
from kiroproxy.ledger.key_book import parse_settings
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import Asked
from kiroproxy.web.services import EXTENSION, Services

KEY = "sk-test"
ADMIN = "sk-admin"
AUTH = {"x-api-key": KEY}
BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def frame(name: str, /, **payload: Any) -> bytes:
    return build_event(name, json.dumps(payload).encode())


def text(content: str) -> bytes:
    return frame("assistantResponseEvent", content=content)


TRAILERS = frame("meteringEvent", usage=0.5) + frame(
    "contextUsageEvent", contextUsagePercentage=2.0
)
GOOD = [text("hello"), text(" you") + TRAILERS]


class ScriptedExchange:
    """Its bytes, then the body's end."""

    announced_end = True

    def __init__(self, steps: list[Any]) -> None:
        self._steps = list(steps)
        self.complete = False
        self.closed = 0

    def read(self, timeout_s: float) -> bytes | None:
        if not self._steps:
            self.complete = True
            return b""
        step = self._steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return cast(bytes | None, step)

    def close(self) -> None:
        self.closed += 1


class ScriptedKiro:
    """Plays one script per call; an exception is raised; GOOD when no script is left."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.exchanges: list[ScriptedExchange] = []
        self.requests: list[dict[str, Any]] = []

    def generate(self, credential: Credential, request: KiroRequest) -> ScriptedExchange:
        self.requests.append(json.loads(request.body()))
        script = self.scripts.pop(0) if self.scripts else GOOD
        if isinstance(script, BaseException):
            raise script
        self.exchanges.append(ScriptedExchange(script))
        return self.exchanges[-1]


class BuiltInModels:
    """A catalogue that asks nobody."""

    def models(self, wait_s: float = 0.0) -> Sequence[Model]:
        return BUILT_IN


class Place:
    """An application, its client and its Kiro."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.kiro = ScriptedKiro()
        self.services: Services = app.extensions[EXTENSION]
        self.services.client = cast(Any, self.kiro)
        self.services.catalogue = cast(Any, BuiltInModels())
        self.has_keys = False

    def new_key(self, name: str = "ci", **settings: Any) -> dict[str, str]:
        """Headers with a client key, which counts at once."""
        self.has_keys = True
        made = self.services.ledger.book.create(parse_settings({"name": name} | settings))
        self.services.ledger.keys.look()
        return {"x-api-key": made.secret}

    def rows(self) -> list[UsageRow]:
        """What the ledger has, oldest first."""
        self.services.ledger.usage.flush()
        found = self.services.ledger.reader.rows(Asked(), newest_first=False)
        return found.rows

    def post(self, path: str = "/v1/messages", **more: Any) -> Any:
        body = BODY | more.pop("json", {})
        return self.client.post(path, json=body, headers=AUTH | more.pop("headers", {}), **more)

    @property
    def in_flight(self) -> dict[int, int]:
        """Leases that are out, by credential."""
        return self.services.pool._runtime.in_flight()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Builds applications; each setting as `Config` calls it."""
    made: list[Place] = []

    def build(credentials: int = 1, **settings: Any) -> Place:
        stored = [
            {
                "refreshToken": f"rt-{n}" + "x" * 100,
                "accessToken": f"at-{n}",
                "expiresAt": "2099-01-01T00:00:00Z",
                "authMethod": "social",
            }
            for n in range(credentials)
        ]
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(stored), "utf-8")
        path.chmod(0o600)
        given = {"api_key": KEY, "admin_api_key": ADMIN, "queue_wait_sec": 0.2} | settings
        config = load_config(given | {"credentials_path": path}, environ={}, cwd=tmp_path)
        made.append(Place(create_app(config)))
        return made[-1]

    yield build
    for place in made:
        if place.has_keys:
            place.services.ledger.close()
        place.services.pool._runtime.close()
        place.services.responses.close()


@pytest.fixture
def place(make: Callable[..., Place]) -> Place:
    return make()


class Counters:
    """Differences of metrics since it was made."""

    def __init__(self) -> None:
        self._before = self._all()

    @staticmethod
    def _all() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """By how much a metric has grown, summed over the labels that are not given."""
        after = self._all()
        return sum(
            value - self._before.get(key, 0.0)
            for key, value in after.items()
            if key[0] == f"kiroproxy_{name}" and labels.items() <= dict(key[1]).items()
        )


@pytest.fixture
def counters() -> Counters:
    return Counters()
