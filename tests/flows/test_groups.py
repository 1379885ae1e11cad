"""A credentials.json in kiro2api's form, put in place by hand (S121; issue 4)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.flows.test_pool import ADMIN, SLOW, SNAPSHOT_S, bearers, serving, stored
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

DUE = {"accessToken": None, "expiresAt": None}


def kiro2api(*tokens: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A file as its owner wrote it; each token is `auth` and the rest."""
    entries = []
    for number, token in enumerate(tokens, 1):
        own = credential(refreshToken=f"{LONG_TOKEN}{number}", accessToken=f"access-{number}")
        own.pop("authMethod")
        entries.append({"auth": "Social"} | own | token)
    return {
        "default_group": "team",
        "groups": {
            "team": {"name": "team", "display_name": "Team", "colour": "red"},
            "pro": {"name": "pro", "settings": {"priority": 1, "cooldown_sec": 1}},
        },
        "api_keys": [{"key": "k", "name": "n", "allowed_groups": ["pro"]}],
        "tokens": entries,
    } | more


def test_its_groups_are_served(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path, kiro2api({}, {"group": "pro"}, {"group": "default"})) as proxy:
        assert post(proxy, body(), "/team/v1/messages").status_code == 200
        assert post(proxy, body(), "/pro/v1/messages").status_code == 200
        assert post(proxy, body()).status_code == 200
        assert bearers(sim) == ["access-1", "access-2", "access-3"]
        told = requests.get(f"{proxy.url}/health", timeout=10).json()
        assert told["token_pools"] == {"team": 1, "pro": 1, "default": 1}
        sim.script(SLOW, times=None, bearer="access-2")
        answer = post(proxy, body("slow"), "/pro/v1/messages")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) <= 2, "the group's own cooldown"


def test_a_rotation_keeps_its_shape(sim: Simulator, tmp_path: Path) -> None:
    """S94, S96, S121: unknown keys survive, and no group is written that was not there."""
    given = kiro2api(DUE, DUE | {"group": "pro", "note": "mine"})
    with serving(sim, tmp_path, given) as proxy:
        assert post(proxy, body(), "/team/v1/messages").status_code == 200
        assert post(proxy, body(), "/pro/v1/messages").status_code == 200
        written: Any = stored(proxy)
        first, second = written["tokens"]
        assert first["accessToken"].startswith("simulated-access-")
        assert first["refreshToken"].startswith("simulated-refresh-")
        assert "group" not in first
        assert (second["group"], second["note"]) == ("pro", "mine")
        rest = {key: value for key, value in given.items() if key != "tokens"}
        assert {key: value for key, value in written.items() if key != "tokens"} == rest


def test_a_group_that_is_written_into_it_is_there_at_once(sim: Simulator, tmp_path: Path) -> None:
    headers = {"x-api-key": ADMIN}
    with serving(sim, tmp_path, kiro2api({})) as proxy:
        assert post(proxy, body(), "/late/v1/messages").status_code == 404
        written: Any = stored(proxy)
        written["groups"]["late"] = {"name": "late"}
        proxy.credentials_path.write_text(json.dumps(written))
        time.sleep(SNAPSHOT_S)
        assert post(proxy, body(), "/late/v1/messages").status_code == 503, "empty, not unknown"
        refused = requests.delete(f"{proxy.url}/api/groups/late", headers=headers, timeout=10)
        assert refused.status_code == 400
        assert "the credentials file defines the group late" in refused.text
