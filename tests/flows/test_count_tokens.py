"""count_tokens with an external service (S65 to S67)."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.flows.client import PROMPT, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

ASKED = {
    "model": "claude-sonnet-4-5",
    "system": "Be brief.",
    "messages": [{"role": "user", "content": PROMPT}],
    "thinking": {"type": "disabled"},
}


class Service:
    """A counter that says 4242, or fails."""

    def __init__(self) -> None:
        service = self
        self.status = 200
        self.seen: list[tuple[dict[str, str], Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                service.seen.append((headers, json.loads(body)))
                self.send_response(service.status)
                self.send_header("content-length", "23")
                self.end_headers()
                self.wfile.write(b'{"input_tokens": 4242 }')

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/messages/count_tokens"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.parametrize(
    ("auth_type", "header", "value"),
    [("x-api-key", "x-api-key", "sk-count"), ("bearer", "authorization", "Bearer sk-count")],
)
def test_s65_to_s67(
    sim: Simulator, service: Service, tmp_path: Path, auth_type: str, header: str, value: str
) -> None:
    config = {
        "countTokensApiUrl": service.url,
        "countTokensApiKey": "sk-count",
        "countTokensAuthType": auth_type,
    }
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        answer = post(proxy, ASKED, "/v1/messages/count_tokens")
        assert answer.json() == {"input_tokens": 4242}
        [(headers, body)] = service.seen
        assert headers[header] == value
        assert body == {key: ASKED[key] for key in ("model", "messages", "system")}
        service.status = 500
        answer = post(proxy, ASKED, "/v1/messages/count_tokens")
        assert answer.status_code == 200
        assert 1 <= answer.json()["input_tokens"] < 100, "the estimate serves"
