"""Two ways of speaking to Kiro, chosen per credential (issue 4; protocol notes 2.4)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.flows.test_pool import ADMIN, SLOW, SNAPSHOT_S, pool_of, serving, stored
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

CHAT_TARGET = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse"
TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]
SEARCH = body(
    "Perform a web search for the query: event stream framing",
    tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    tool_choice={"type": "tool", "name": "web_search"},
)


def chats(sim: Simulator) -> list[dict[str, Any]]:
    return [one for one in sim.requests() if one["flavour"]]


def users(call: dict[str, Any]) -> list[dict[str, Any]]:
    state = call["body"]["conversationState"]
    messages = [*state.get("history", []), state["currentMessage"]]
    return [one["userInputMessage"] for one in messages if "userInputMessage" in one]


def test_a_cli_credential_speaks_as_kiro_cli(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path, pool_of(1, endpoint="CLI"), kiroCliVersion="7.7.7") as proxy:
        answer = post(proxy, body(messages=TURNS, system="be terse"))
        assert answer.status_code == 200, answer.text
        assert answer.json()["content"][0]["text"]
        [call] = chats(sim)
        assert (call["method"], call["path"], call["flavour"]) == ("POST", "/", "cli")
        assert call["refused"] is None
        headers = call["headers"]
        assert headers["x-amz-target"] == CHAT_TARGET
        assert headers["content-type"] == "application/x-amz-json-1.0"
        assert headers["user-agent"].startswith("aws-sdk-rust/")
        assert "md/appVersion-7.7.7 app/AmazonQ-For-CLI" in headers["user-agent"]
        assert "x-amzn-kiro-agent-mode" not in headers
        assert "agentContinuationId" not in call["body"]["conversationState"]
        *history, current = users(call)
        assert {user["origin"] for user in [*history, current]} == {"KIRO_CLI"}
        assert not any("modelId" in user for user in history)
        assert current["userInputMessageContext"]["envState"]["operatingSystem"]
        assert "profileArn" not in call["body"], "none was selected"
        assert stored(proxy)[0]["endpoint"] == "CLI", "as its owner wrote it"


def test_its_other_calls_speak_likewise(sim: Simulator, tmp_path: Path) -> None:
    """Models, usage limits and profiles as AWS-JSON; the search is plain JSON."""
    arn = "arn:aws:codewhisperer:us-east-1:111122223333:profile/FOUND"
    sim.account(accessToken="access-1", requireProfileArn=True, profiles=[arn])
    with serving(sim, tmp_path, pool_of(1, endpoint="cli")) as proxy:
        assert post(proxy, body()).status_code == 200, "the profile was asked for"
        assert chats(sim)[-1]["body"]["profileArn"] == arn
        headers = {"x-api-key": proxy.key}
        shown = requests.get(f"{proxy.url}/api/tokens", headers=headers, timeout=10).json()
        assert shown["tokens"][0]["remaining_usage"] > 0
        assert requests.get(f"{proxy.url}/v1/models", headers=headers, timeout=10).ok
        assert post(proxy, SEARCH).status_code == 200
        calls = [one for one in sim.requests() if not one["flavour"]]
        [search] = [one for one in calls if one["path"] == "/mcp"]
        others = [one for one in calls if one["path"] != "/mcp"]
        assert {one["headers"]["x-amz-target"].rpartition(".")[2] for one in others} == {
            "ListAvailableProfiles",
            "GetUsageLimits",
            "ListAvailableModels",
        }
        assert {(one["method"], one["path"]) for one in others} == {("POST", "/")}
        assert search["headers"]["content-type"] == "application/json"
        assert search["headers"]["x-amzn-kiro-profile-arn"] == arn
        agents = {one["headers"]["user-agent"].split()[0] for one in calls}
        assert agents == {"aws-sdk-rust/1.3.15"}
        assert not any(one["refused"] for one in calls)


@pytest.mark.parametrize("first", ["ide", "cli"])
def test_failing_over_to_the_other_flavour(sim: Simulator, tmp_path: Path, first: str) -> None:
    """One request, each attempt in its credential's own way."""
    pool = pool_of(2)
    pool[0]["endpoint"] = first
    pool[1]["endpoint"] = {"ide": "cli", "cli": "ide"}[first]
    with serving(sim, tmp_path, pool) as proxy:
        sim.script(SLOW, times=None, bearer="access-1")
        assert post(proxy, body(messages=TURNS)).status_code == 200
        one, two = chats(sim)
        assert [one["flavour"], two["flavour"]] == [pool[0]["endpoint"], pool[1]["endpoint"]]
        by = {call["flavour"]: call for call in (one, two)}
        assert "agentContinuationId" in by["ide"]["body"]["conversationState"]
        assert {user["origin"] for user in users(by["ide"])} == {"AI_EDITOR"}
        assert {user["origin"] for user in users(by["cli"])} == {"KIRO_CLI"}
        assert "x-amz-target" not in by["ide"]["headers"]


def test_an_unknown_endpoint_costs_only_its_credential(sim: Simulator, tmp_path: Path) -> None:
    """In a file that a person edits; mending it is enough."""
    pool = pool_of(2)
    pool[0]["endpoint"] = "desktop"
    with serving(sim, tmp_path, pool) as proxy:
        assert post(proxy, body()).status_code == 200
        assert [one["bearer"] for one in chats(sim)] == ["access-2"]
        reasons = requests.get(f"{proxy.url}/readyz", timeout=10).json()["reasons"]
        assert any("endpoint must be ide or cli, not 'desktop'" in one for one in reasons), reasons
        headers = {"x-api-key": proxy.key}
        tokens = requests.get(f"{proxy.url}/api/tokens", headers=headers, timeout=10).json()
        assert [one["status"] for one in tokens["tokens"]] == ["error", "active"]
        assert "InvalidConfig" in tokens["tokens"][0]["error"]
        entries = stored(proxy)
        assert "disabled" not in entries[0], "nobody has disabled it"
        entries[0]["endpoint"] = "cli"
        proxy.credentials_path.write_text(json.dumps(entries))
        time.sleep(SNAPSHOT_S)
        assert post(proxy, body("another")).status_code == 200
        assert (chats(sim)[-1]["bearer"], chats(sim)[-1]["flavour"]) == ("access-1", "cli")


def test_an_unknown_endpoint_is_not_taken(sim: Simulator, tmp_path: Path) -> None:
    """Adding and importing refuse it in words."""
    bad = credential(refreshToken=LONG_TOKEN + "bad", endpoint="desktop")
    environ = {"KIRO_AUTH_TOKEN": json.dumps([bad])}
    with serving(sim, tmp_path, pool_of(1), environ=environ) as proxy:
        assert "endpoint: must be ide or cli, not 'desktop'" in proxy.log()
        answer = requests.post(
            f"{proxy.url}/api/tokens", json=bad, headers={"x-api-key": ADMIN}, timeout=10
        )
        assert answer.status_code == 400
        assert "endpoint: must be ide or cli, not 'desktop'" in answer.text
        assert len(stored(proxy)) == 1
