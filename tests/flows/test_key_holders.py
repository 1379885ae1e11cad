"""Key holders and operators at a real server: /v1/me, /portal, /api/keys, kiro2api's keys."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook
from tests.flows.client import body, events_of, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy, clean_environment
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

ADMIN = {"x-api-key": "sk-admin"}
SEEN_S = 1.2
"""After this every worker knows of a change of a key."""
WRITTEN_S = 3.0


def me(proxy: Proxy, secret: str, path: str = "/v1/me") -> dict[str, Any]:
    answer = requests.get(f"{proxy.url}{path}", headers={"x-api-key": secret}, timeout=10)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def test_true_use_after_real_requests(sim: Simulator, tmp_path: Path) -> None:
    """Streamed and not, both dialects, two workers; what Kiro billed is what is told."""
    with Proxy(tmp_path, {"adminApiKey": "sk-admin"}, [credential()], upstream=sim.url) as proxy:
        wanted = {
            "name": "ci",
            "limits": {"requests_per_minute": 20, "concurrent": 3},
            "budgets": {"day_hard": 5},
        }
        made = requests.post(f"{proxy.url}/api/keys", json=wanted, headers=ADMIN, timeout=10)
        assert made.status_code == 201, made.text
        secret = made.json()["key"]
        time.sleep(SEEN_S)
        answers = [post(proxy, body(), headers={"x-api-key": secret}) for _ in range(3)]
        chat = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hi"}]}
        answers.append(post(proxy, chat, "/v1/chat/completions", {"x-api-key": secret}))
        assert {one.status_code for one in answers} == {200}
        assert events_of(proxy, body()), "the root key's"
        time.sleep(WRITTEN_S)
        own, everybody = me(proxy, secret), me(proxy, proxy.key)
        assert own["usage"]["today"]["requests"] == 4
        assert everybody["usage"]["today"]["requests"] == 5
        output = sum(one.json()["usage"]["output_tokens"] for one in answers[:3])
        output += answers[3].json()["usage"]["completion_tokens"]
        assert own["usage"]["today"]["output_tokens"] == output
        assert own["limits"]["requests_per_minute"]["used"] == 4
        assert own["limits"]["concurrent"]["used"] == 0
        spent = own["budgets"][0]["spent"]
        assert spent == pytest.approx(own["usage"]["today"]["credits"])
        assert spent > 0
        stats = requests.get(f"{proxy.url}/api/stats", headers=ADMIN, timeout=10).json()
        assert stats["total_requests"] == 5
        shown = command(proxy, "keys", "show", "ci")
        assert shown["standing"][0]["spent"] == pytest.approx(spent)
        assert shown["last_used_at"] is None or shown["last_used_at"].endswith("Z")
        rows = command(proxy, "usage", "--by", "key")
        assert {row["key_id"]: row["requests"] for row in rows} == {made.json()["id"]: 4, "": 1}
        assert secret not in proxy.log()


def command(proxy: Proxy, *arguments: str) -> Any:
    """A command beside the running server."""
    place = proxy.config_path.parent
    environ = clean_environment(
        KIROPROXY_CONFIG=str(proxy.config_path), KIROPROXY_CREDENTIALS=str(proxy.credentials_path)
    )
    line = [*proxy.process.args[:1], "-m", "kiroproxy", *arguments, "--json"]  # type: ignore[index]
    done = subprocess.run(
        line, cwd=place, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_kiro2apis_keys_at_start(sim: Simulator, tmp_path: Path) -> None:
    """S121, X13: they work, are told once, and a deleted one does not come back."""
    token = json.dumps(
        {
            "tokens": [{"auth": "Social", "refreshToken": LONG_TOKEN}],
            "api_keys": [
                {"key": "kp_of-the-old-program", "name": "old", "allowed_groups": ["default"]},
                {"key": "kp_of-somebody-else", "name": "pro", "allowed_groups": ["pro"]},
                {"key": "short"},
            ],
        }
    )
    environ = {"KIRO_AUTH_TOKEN": token}
    with Proxy(tmp_path, {}, [], upstream=sim.url, environ=environ) as proxy:
        for secret, status in (("kp_of-the-old-program", 200), ("kp_of-somebody-else", 403)):
            assert post(proxy, body(), headers={"x-api-key": secret}).status_code == status
        log = proxy.log()
        assert "2 client keys of KIRO_AUTH_TOKEN" in log
        assert "api_keys[2]: key: must have at least 8 characters" in log
        assert "kp_of" not in log
        database = Database(proxy.config_path.parent / "data" / "kiroproxy.db")
        KeyBook(database).delete("old")
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, environ=environ) as again:
        answer = post(again, body(), headers={"x-api-key": "kp_of-the-old-program"})
        assert answer.status_code == 401
        assert [one.name for one in KeyBook(database).all()] == ["pro"]
        assert again.log().count("client keys of KIRO_AUTH_TOKEN are") == 1
