"""Kiro's data paths over real HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.eventstream import Decoder
from kiroproxy.simulator.app import PLACEHOLDER_ARN, new_tool_id
from tests.simulation import Simulator, chat_body
from tests.simulator.conftest import Caller

AWS_JSON = {"content-type": "application/x-amz-json-1.0"}


def payloads(body: bytes) -> list[dict[str, Any]]:
    decoder = Decoder()
    frames = decoder.feed(body)
    decoder.close()
    return [json.loads(frame.payload) for frame in frames]


def text(body: bytes) -> str:
    return "".join(payload.get("content", "") for payload in payloads(body))


def test_the_default_answer_says_that_it_is_simulated(sim: Simulator, caller: Caller) -> None:
    response = caller.start("What is the weather?")
    assert response.getheader("content-type") == "application/vnd.amazon.eventstream"
    assert response.getheader("x-amzn-requestid")
    body = response.read()
    assert "simulated" in text(body)
    assert "What is the weather?" in text(body)
    assert "contextUsagePercentage" in payloads(body)[-2]
    assert "usage" in payloads(body)[-1]
    assert sim.state()["generateCalls"] == 1


def test_both_flavours_of_chat_are_served(sim: Simulator, caller: Caller) -> None:
    """protocol.md 2.1, 2.4."""
    service = "AmazonCodeWhispererStreamingService"
    headers = AWS_JSON | {"x-amz-target": f"{service}.GenerateAssistantResponse"}
    environment = {"envState": {"operatingSystem": "linux"}}
    whole = chat_body("[[sim: text]]", context=environment, origin="KIRO_CLI")
    status, body = caller.call("POST", "/", whole, "me", **headers)
    assert status == 200
    assert text(body) == "This is a simulated answer."
    assert caller.chat("[[sim: text]]")[0] == 200
    assert [one["flavour"] for one in sim.requests()] == ["cli", "ide"]


def test_what_the_root_path_refuses(sim: Simulator, caller: Caller) -> None:
    """protocol.md 2.4: AWS-JSON, the right service, the system of the caller."""
    service = "AmazonCodeWhispererStreamingService"
    named = {"x-amz-target": f"{service}.GenerateAssistantResponse"}
    whole = chat_body(context={"envState": {"operatingSystem": "linux"}})
    plain = {"content-type": "application/json"}
    assert caller.call("POST", "/", whole, "me", **named, **plain)[0] == 404
    other = {"x-amz-target": "AmazonCodeWhispererService.GenerateAssistantResponse"}
    assert caller.call("POST", "/", whole, "me", **other, **AWS_JSON)[0] == 404
    assert caller.call("POST", "/", chat_body(), "me", **named, **AWS_JSON)[0] == 400
    assert [(one["refused"] or "").split(":")[0] for one in sim.requests()] == [
        "content-type",
        "",
        "environment-missing",
    ]


def test_a_tool_directive_uses_fresh_ids_and_its_result_is_answered(caller: Caller) -> None:
    prompt = '[[sim: tool stat {"path": "a"}]]'
    first, second = (payloads(caller.chat(prompt)[1]) for _ in range(2))
    assert first[0]["name"] == "stat"
    assert first[0]["toolUseId"] != second[0]["toolUseId"]
    assert json.loads(first[1]["input"]) == {"path": "a"}
    use = {"toolUseId": first[0]["toolUseId"], "name": "stat", "input": {"path": "a"}}
    result = {"toolUseId": use["toolUseId"], "content": [{"text": "12 bytes"}]}
    schema = {"json": {"type": "object", "properties": {}}}
    tool = {"toolSpecification": {"name": "stat", "description": "d", "inputSchema": schema}}
    history = [
        {"userInputMessage": {"content": prompt}},
        {"assistantResponseMessage": {"content": " ", "toolUses": [use]}},
    ]
    context = {"toolResults": [result], "tools": [tool]}
    status, body = caller.chat(chat_body(" ", history=history, context=context))
    assert status == 200
    assert "12 bytes" in text(body)


def test_tool_ids_have_kiros_shape() -> None:
    assert len(new_tool_id()) == len("tooluse_") + 22


def test_refusals_are_kiros_and_are_recorded(sim: Simulator, caller: Caller) -> None:
    response = caller.start(chat_body(""))
    assert response.status == 400
    assert json.loads(response.read()) == {"message": "Improperly formed request.", "reason": None}
    assert response.getheader("x-amzn-errortype") == "ValidationException"
    assert (response.getheader("x-sim-refused") or "").startswith("empty-content")
    (recorded,) = sim.requests("/generateAssistantResponse")
    assert recorded["refused"].startswith("empty-content")
    assert sim.state()["refusals"] == {"empty-content": 1}


def test_a_misspelt_directive_is_told(caller: Caller) -> None:
    status, body = caller.chat("[[sim: weather]]")
    assert status == 400
    assert b"no such script" in body


def test_requests_are_recorded_in_order(sim: Simulator, caller: Caller) -> None:
    caller.chat("one")
    caller.call("GET", "/getUsageLimits?origin=AI_EDITOR", bearer="b", **{"x-thing": "y"})
    caller.chat("two", bearer="c")
    recorded = sim.requests()
    assert [r["path"] for r in recorded] == [
        "/generateAssistantResponse",
        "/getUsageLimits",
        "/generateAssistantResponse",
    ]
    assert recorded[1]["query"] == {"origin": "AI_EDITOR"}
    assert recorded[1]["headers"]["x-thing"] == "y"
    assert recorded[2]["bearer"] == "c"
    assert recorded[2]["body"] == chat_body("two")
    assert [r["refused"] for r in recorded] == [None] * 3
    assert recorded[0]["time"] <= recorded[2]["time"]


def test_expired_tokens_are_refused(sim: Simulator, caller: Caller) -> None:
    sim.account(id="a", accessToken="old", expiresIn=-1)
    status, body = caller.chat("hi", bearer="old")
    assert status == 403
    assert b"The bearer token included in the request is invalid" in body


def test_keys_need_their_header_and_no_profile(caller: Caller) -> None:
    """protocol.md 2.5, 5.1."""
    assert caller.chat("hi", bearer="ksk_x")[0] == 403
    headers = {"tokentype": "API_KEY"}
    assert caller.chat("hi", bearer="ksk_x", **headers)[0] == 200
    body = chat_body() | {"profileArn": "arn:aws:codewhisperer:us-east-1:1:profile/X"}
    assert caller.chat(body, bearer="ksk_x", **headers)[0] == 400


def test_quotas_are_spent_by_metering(sim: Simulator, caller: Caller) -> None:
    sim.account(id="a", accessToken="t", quota=0.02)
    assert [caller.chat("[[sim: text]]", bearer="t")[0] for _ in range(3)] == [200, 200, 402]
    usage = caller.call("GET", "/getUsageLimits", bearer="t")[1]["usageBreakdownList"][0]
    assert usage["currentUsageWithPrecision"] == 0.025
    assert usage["usageLimitWithPrecision"] == 0.02


def test_account_faults_and_models(sim: Simulator, caller: Caller) -> None:
    sim.account(id="a", accessToken="t", fault="suspended")
    status, body = caller.chat("hi", bearer="t")
    assert (status, json.loads(body)["reason"]) == (403, "TEMPORARILY_SUSPENDED")
    sim.account(id="a", fault=None, models=["auto"])
    status, body = caller.chat("hi", bearer="t")
    assert (status, json.loads(body)["reason"]) == (400, "INVALID_MODEL_ID")
    assert caller.chat(chat_body("hi", modelId="auto"), bearer="t")[0] == 200


def test_models_come_in_pages_both_ways(caller: Caller) -> None:
    """protocol.md 6.3."""
    status, page = caller.call("GET", "/ListAvailableModels?maxResults=5", bearer="me")
    assert (status, len(page["models"])) == (200, 5)
    target = AWS_JSON | {"x-amz-target": "AmazonCodeWhispererService.ListAvailableModels"}
    _, rest = caller.call("POST", "/", {"nextToken": page["nextToken"]}, "me", **target)
    assert rest["models"][0]["modelId"] == page["nextToken"]
    assert "nextToken" not in rest


def test_profiles_usage_and_preference(sim: Simulator, caller: Caller) -> None:
    """protocol.md 6.1, 6.2, 6.4."""
    profiles = AWS_JSON | {"x-amz-target": "AmazonCodeWhispererService.ListAvailableProfiles"}
    _, listed = caller.call("POST", "/", {"maxResults": 10}, "me", **profiles)
    assert listed["profiles"][0]["arn"].startswith("arn:aws:codewhisperer:")
    sim.account(id="none", accessToken="builder", profiles=[])
    assert caller.call("POST", "/", {}, "builder", **profiles)[1] == {"profiles": []}
    wanted = {"overageConfiguration": {"overageStatus": "ENABLED"}}
    assert caller.call("POST", "/setUserPreference", wanted, "me")[0] == 200
    usage = AWS_JSON | {"x-amz-target": "AmazonCodeWhispererService.GetUsageLimits"}
    limits = caller.call("POST", "/", {}, "me", **usage)[1]
    assert limits["overageConfiguration"] == {"overageStatus": "ENABLED"}
    sim.account(id="free", accessToken="free", subscription="KIRO FREE")
    assert caller.call("POST", "/setUserPreference", wanted, "free")[0] == 403
    assert caller.call("POST", "/setUserPreference", {}, "me")[0] == 400


def test_the_placeholder_profile_is_good_for_chat_only(caller: Caller) -> None:
    """protocol.md 2.5."""
    assert caller.chat(chat_body() | {"profileArn": PLACEHOLDER_ARN})[0] == 200
    path = f"/getUsageLimits?profileArn={PLACEHOLDER_ARN}"
    assert caller.call("GET", path, bearer="me")[0] == 403
    path = f"/ListAvailableModels?profileArn={PLACEHOLDER_ARN}"
    assert caller.call("GET", path, bearer="me")[0] == 403


def test_search(caller: Caller) -> None:
    """protocol.md 7."""
    params = {"name": "web_search", "arguments": {"query": "kiro"}}
    call = {"id": "1", "jsonrpc": "2.0", "method": "tools/call", "params": params}
    status, answer = caller.call("POST", "/mcp", call, "me")
    assert status == 200
    assert "results" in json.loads(answer["result"]["content"][0]["text"])
    assert caller.call("POST", "/mcp", call)[0] == 403


def test_unknown_paths_and_targets(caller: Caller) -> None:
    assert caller.call("GET", "/nothing")[0] == 404
    for target in ("X.Nope", "X.ListAvailableProfiles", "ListAvailableProfiles"):
        headers = AWS_JSON | {"x-amz-target": target}
        assert caller.call("POST", "/", {}, "me", **headers)[0] == 404
    assert caller.call("GET", "/")[1]["simulated"] is True


def test_a_script_file_is_played(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    entries = [
        {"name": "unicode", "match": "blue"},
        {"script": {"steps": [{"text": "always"}]}, "times": None},
    ]
    file.write_text(json.dumps(entries))
    with Simulator("--script", str(file)) as simulator:
        caller = Caller(simulator)
        assert "你好" in text(caller.chat("blue")[1])
        assert text(caller.chat("blue")[1]) == "always"
        simulator.reset()
        assert "你好" in text(caller.chat("blue")[1])
        caller.close()


def test_strict_demands_known_tokens_and_a_profile() -> None:
    with Simulator("--strict") as simulator:
        caller = Caller(simulator)
        assert caller.chat("hi", bearer="unknown")[0] == 403
        simulator.account(id="a", accessToken="known")
        status, body = caller.chat("hi", bearer="known")
        assert (status, json.loads(body)["message"]) == (
            400,
            "profileArn is required for this request.",
        )
        status, _ = caller.call("POST", "/refreshToken", {"refreshToken": "unknown"})
        assert status == 400
        caller.close()


def test_a_bad_script_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text("[{}]")
    with pytest.raises(RuntimeError, match="did not start"), Simulator("--script", str(file)):
        pass
