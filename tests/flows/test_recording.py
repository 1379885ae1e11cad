"""Issue 9, item 8: failed exchanges are recorded, and happen again in a replay."""

import concurrent.futures
import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from kiroproxy import replay
from kiroproxy.recording.document import Recording
from kiroproxy.recording.folder import Entry, Folder, load
from tests.flows.conftest import SHARED, credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow
ADMIN = "sk-admin-of-a-test"
ARN = "arn:aws:codewhisperer:us-east-1:123456789012:profile/CANARYPROFILE"
LIMIT = 40
IDLE_S = 1.0
HELLO = [{"text": "hello"}, {"text": " there"}]
TRAILER = [{"metering": 0.1}, {"context": 2.0}]


def recordings(proxy: Proxy) -> Folder:
    return Folder(proxy.config_path.with_name("recordings"), LIMIT)


def ask(proxy: Proxy, path: str = "/v1/messages", **body: Any) -> requests.Response:
    given: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": True}
    if path.endswith("/responses"):
        given |= {"input": "hello"}
    else:
        given |= {"messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {proxy.key}", "x-forwarded-for": "10.9.8.7"}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(proxy.url + path, json=given | body, headers=headers, timeout=60)


def found(proxy: Proxy, id_: str, limit_s: float = 10) -> Entry:
    """The recording of an answer; it is written a little later."""
    deadline = time.monotonic() + limit_s
    while True:
        for one in recordings(proxy).entries():
            if one.id == id_:
                return one
        assert time.monotonic() < deadline, f"{id_} is not recorded"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def recorder(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = {
        "recordFailures": LIMIT,
        "adminApiKey": ADMIN,
        "idleTimeoutSec": IDLE_S,
        "firstFrameWaitSec": 0.3,
        "pingIntervalSec": 0.2,
        "cooldownSec": 0,
    }
    pool = [
        credential(
            refreshToken=f"refresh-canary-{n}-" + "x" * 120,
            accessToken=f"access-canary-{n}-" + "y" * 20,
            profileArn=ARN,
            label=f"label-canary-{n}@example.com",
            email=f"mail-canary-{n}@example.com",
        )
        for n in range(2)
    ]
    place = tmp_path_factory.mktemp("recorder")
    with Proxy(place, config, pool, upstream=running_simulator.url) as running:
        SHARED.append(running)
        yield running
        SHARED.remove(running)


def test_off_by_default(sim: Simulator, proxy: Proxy) -> None:
    sim.script({"status": 400, "body": {"message": "Improperly formed request."}})
    assert ask(proxy).status_code == 400
    assert not recordings(proxy).path.exists()


def test_the_log_says_that_prompts_are_kept(recorder: Proxy) -> None:
    assert f"the last {LIMIT} failed exchanges are kept in" in recorder.log()


def test_a_success_is_not_recorded(sim: Simulator, recorder: Proxy) -> None:
    before = {one.id for one in recordings(recorder).entries()}
    good = ask(recorder)
    assert good.status_code == 200
    bad = ask(recorder, messages=[])
    found(recorder, bad.headers["request-id"])
    after = {one.id for one in recordings(recorder).entries()}
    assert after - before == {bad.headers["request-id"]}


Fault = tuple[str, dict[str, Any] | None, int, dict[str, Any], str]
FAULTS: dict[str, Fault] = {
    # path, what Kiro plays, how often, the request, how it ends
    "corrupt": ("/v1/messages", {"steps": [*HELLO, {"corrupt": "crc"}, *TRAILER]}, 1, {}, "error"),
    "cut frame": (
        "/v1/messages",
        {"steps": [{"text": "hello"}, {"delay": 0.05}, {"cut": 20}, {"text": "there"}]},
        1,
        {},
        "error",
    ),
    "cut body": ("/v1/messages", {"steps": [*HELLO, {"close": True}]}, 1, {}, "error"),
    "exception": (
        "/v1/chat/completions",
        {"steps": [*HELLO, {"exception": "ThrottlingException"}]},
        1,
        {},
        "error",
    ),
    "refusal": (
        "/v1/messages",
        {"status": 400, "body": {"message": "Improperly formed request.", "reason": None}},
        1,
        {},
        "error",
    ),
    "throttled": ("/v1/messages", {"status": 429, "body": {"message": "Slow"}}, 9, {}, "error"),
    "hang": ("/v1/responses", {"steps": [{"hang": None}]}, 9, {}, "error"),
    "hang in between": ("/v1/messages", {"steps": [*HELLO, {"hang": None}]}, 1, {}, "error"),
    "reset": ("/v1/messages", {"steps": [*HELLO, {"delay": 0.1}, {"reset": True}]}, 1, {}, "error"),
    "untrailed": ("/v1/messages", {"steps": HELLO}, 1, {"stream": False}, "truncated"),
    "cut tool": (
        "/v1/responses",
        {"steps": [{"tool": {"name": "look", "input": '{"a": 1', "stop": False}}, *TRAILER]},
        1,
        {},
        "truncated",
    ),
    "hidden": ("/cc/v1/messages", {"steps": [{"corrupt": "prelude"}, *HELLO]}, 1, {}, "hidden"),
    "our own": ("/v1/messages", None, 0, {"messages": "none"}, "error"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_is_recorded_and_happens_again(
    sim: Simulator, recorder: Proxy, fault: str
) -> None:
    path, script, times, body, why = FAULTS[fault]
    if script is not None:
        sim.script(script, times=times)
    answer = ask(recorder, path, **body)
    entry = found(recorder, answer.headers["request-id"])
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.path.parent.stat().st_mode) == 0o700
    recording = load(entry.path)
    check(recording, answer, sim, why)
    outcome = replay.run(recording)
    assert outcome.same, "\n".join(outcome.differences)
    assert outcome.kiro_request == []
    assert outcome.now.attempts == outcome.then.attempts
    assert outcome.now.ending == recording.answer.ending


def check(recording: Recording, answer: requests.Response, sim: Simulator, why: str) -> None:
    """What was sent and received is there, as it was."""
    assert recording.why == why
    assert recording.answer.status == answer.status_code
    assert recording.answer.text == answer.content.decode()
    sent = [one for one in sim.requests() if one["flavour"]]
    assert len(recording.attempts) == len(sent)
    if sent:
        assert answer.headers["x-kiroproxy-trace"] == recording.id
        assert recording.trace is not None
        assert len(recording.trace["attempts"]) == len(sent)
        state, now = sent[0]["body"]["conversationState"], recording.attempts[0].body
        assert now is not None
        assert now["conversationState"] == state


def test_no_secret_in_any_recording(sim: Simulator, recorder: Proxy) -> None:
    """Also where a client sends them all as its prompt, and Kiro says them again."""
    stored = json.loads(recorder.credentials_path.read_text("utf-8"))
    names = ("refreshToken", "accessToken", "profileArn", "email")
    secrets = [one[name] for one in stored for name in names] + [recorder.key, ADMIN]
    secrets += ["123456789012", "CANARYPROFILE", "10.9.8.7"]
    said = " ".join(secrets[:-1])
    steps = [{"text": said}, {"exception": "ServiceException", "payload": {"message": said}}]
    sim.script({"steps": steps})
    answer = ask(recorder, messages=[{"role": "user", "content": said}], metadata={"user_id": said})
    found(recorder, answer.headers["request-id"])
    sim.script({"status": 403, "body": {"message": said}}, times=9)
    refused = ask(recorder)
    found(recorder, refused.headers["request-id"])
    for entry in recordings(recorder).entries():
        recording = load(entry.path)
        bytes_ = b"".join(data for one in recording.attempts for _, data in one.pieces)
        text = entry.path.read_text("utf-8") + bytes_.decode("utf-8", "replace")
        assert "label-canary" not in text
        for secret in secrets:
            assert secret not in text, (entry.path, secret)
    assert sum(len(one["refreshToken"]) > 100 for one in stored) == 2


def in_parallel(count: int, work: Callable[[int], requests.Response]) -> list[requests.Response]:
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


def test_the_bound_holds_in_a_burst(sim: Simulator, tmp_path: Path) -> None:
    """Of two workers together, also when one of them is killed amid it."""
    config = {"recordFailures": 5, "maxConcurrent": 100}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url) as proxy:
        folder = recordings(proxy)
        sim.script({"status": 400, "body": {"message": "Improperly formed request."}}, times=None)
        for last in (False, True):
            answers = in_parallel(
                40,
                lambda n: ask(proxy, messages=[{"role": "user", "content": "x" * n * 100 + "y"}]),
            )
            assert {one.status_code for one in answers} == {400}
            assert len(folder.entries()) <= 5 + 2
            if not last:
                worker = psutil.Process(proxy.process.pid).children()[0]
                os.kill(worker.pid, signal.SIGKILL)
                proxy.wait_for_health()
        deadline = time.monotonic() + 10
        while len(list(folder.path.iterdir())) != 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert all(load(one.path).answer.status == 400 for one in folder.entries())


def test_requests_go_on_where_nothing_can_be_written(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file is in the way")
    config = {"recordFailures": True}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        sim.script({"status": 400, "body": {"message": "Improperly formed request."}}, times=3)
        assert [ask(proxy).status_code for _ in range(3)] == [400] * 3
        assert ask(proxy).status_code == 200
        proxy.wait_for_log("failed exchanges cannot be recorded")
        assert (tmp_path / "recordings").read_text() == "a file is in the way"
