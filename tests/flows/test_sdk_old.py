"""The 0.x line of the `anthropic` SDK, which many tools still bring along."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]

VERSION = "0.125.0"
PROGRAM = """
import json, sys, anthropic
client = anthropic.Anthropic(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
asked = dict(model="claude-sonnet-4-5", max_tokens=2000,
             thinking={"type": "enabled", "budget_tokens": 1024},
             messages=[{"role": "user", "content": "weather?"}],
             tools=[{"name": "get_weather", "input_schema": {"type": "object"}}])
message = client.messages.create(**asked)
with client.messages.stream(**asked) as stream:
    streamed = stream.get_final_message()
def plain(blocks):
    keep = ("type", "thinking", "signature", "text", "id", "name", "input")
    return [{k: v for k, v in b.model_dump().items() if k in keep} for b in blocks]
count = client.messages.count_tokens(model=asked["model"], messages=asked["messages"]).input_tokens
models = [m.id for m in client.models.list()]
try:
    client.messages.create(**{**asked, "model": "no-such-model"})
    error = None
except anthropic.NotFoundError as caught:
    error = caught.status_code
print(json.dumps({"version": anthropic.__version__, "message": plain(message.content),
    "streamed": plain(streamed.content), "stop": [message.stop_reason, streamed.stop_reason],
    "count": count, "models": len(models), "error": error}))
"""


@pytest.fixture(scope="module")
def old_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("old-sdk")
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(place)]
    done = subprocess.run(
        [*command, f"anthropic=={VERSION}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"anthropic {VERSION} cannot be installed: {done.stderr[-200:]}")
    return place


def test_0_x(sim: Simulator, proxy: Proxy, old_sdk: Path) -> None:
    call = {"tool": {"id": "tooluse_1", "name": "get_weather", "input": {"city": "Zürich"}}}
    steps = [
        {"text": "<thinking>Hm.</thinking>\n\nI look."},
        call,
        {"context": 3.5},
        {"metering": 1},
    ]
    sim.script({"steps": steps}, times=2)
    environ = os.environ | {"PYTHONPATH": str(old_sdk), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, proxy.url, proxy.key],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["version"] == VERSION
    assert said["message"] == said["streamed"]
    assert [block["type"] for block in said["message"]] == ["thinking", "text", "tool_use"]
    assert said["message"][2]["input"] == {"city": "Zürich"}
    assert said["stop"] == ["tool_use", "tool_use"]
    assert (said["count"] >= 1, said["models"] > 3, said["error"]) == (True, True, 404)
