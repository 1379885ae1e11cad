"""A pool that is used well and never burnt: real workers, a simulated Kiro (issue 4)."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import Stream, body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

SLOW = {"status": 429, "body": {"message": "slow down"}}
ADMIN = "sk-admin"


def pool_of(size: int, **more: Any) -> list[dict[str, Any]]:
    return [
        credential(id=n, refreshToken=LONG_TOKEN + str(n), accessToken=f"access-{n}", **more)
        for n in range(1, size + 1)
    ]


@contextmanager
def serving(
    sim: Simulator,
    place: Path,
    credentials: Any,
    *,
    environ: dict[str, str] | None = None,
    **config: Any,
) -> Iterator[Proxy]:
    given = {"adminApiKey": ADMIN, "logLevel": "warn"} | config
    with Proxy(place, given, credentials, upstream=sim.url, environ=environ) as proxy:
        yield proxy


def bearers(sim: Simulator) -> list[str]:
    return [request["bearer"] for request in sim.requests("/generateAssistantResponse")]


SNAPSHOT_S = 1.2
"""After this the other worker, too, knows what became of a credential: its view is 1 s old."""


def stored(proxy: Proxy) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(proxy.credentials_path.read_text())
    return entries


def explain(proxy: Proxy, answer: requests.Response) -> dict[str, Any]:
    told = requests.get(
        f"{proxy.url}/api/admin/explain/{answer.headers['x-kiroproxy-trace']}",
        headers={"x-api-key": ADMIN},
        timeout=10,
    )
    assert told.status_code == 200, told.text
    value: dict[str, Any] = told.json()
    return value


def flood(proxy: Proxy, count: int, clients: int = 20, **fields: Any) -> list[int]:
    """The statuses of many requests."""
    with ThreadPoolExecutor(clients) as threads:
        ask = lambda n: post(proxy, body(**fields)).status_code  # noqa: E731
        return list(threads.map(ask, range(count)))


# ---- judging ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_f16_a_storm_of_429(sim: Simulator, tmp_path: Path, size: int) -> None:
    """At most 1.5 upstream calls per request; the first probe after its end succeeds."""
    with serving(sim, tmp_path, pool_of(size)) as proxy:
        sim.script(SLOW, times=None)
        statuses = flood(proxy, 100, clients=100)
        assert set(statuses) == {429}
        assert sim.state()["generateCalls"] <= 150
        before = sim.state()["generateCalls"]
        sim.reset()
        began = time.monotonic()
        while post(proxy, body()).status_code != 200:
            assert time.monotonic() - began < 5
            time.sleep(0.05)
        assert sim.state()["generateCalls"] == 1, "the first probe"
        assert time.monotonic() - began < 2.5
        assert before > 0
        assert not any(one.get("disabled") for one in stored(proxy)), "429 never disables"


def test_exhausted_pools_say_when(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        sim.script(SLOW | {"headers": {"retry-after": "50"}}, times=None, bearer="access-1")
        sim.script(SLOW | {"headers": {"retry-after": "20"}}, times=None, bearer="access-2")
        post(proxy, body())
        answers = [post(proxy, body()) for _ in range(2)]
        assert {one.status_code for one in answers} == {429}
        assert all(15 <= int(one.headers["retry-after"]) <= 22 for one in answers)
        assert answers[-1].headers["anthropic-ratelimit-requests-remaining"] == "0"
        told = explain(proxy, answers[-1])
        assert {skip["credential_id"] for skip in told["skipped"]} >= {1}


@pytest.mark.parametrize("way", ["http://127.0.0.1:1", "http://no-such-host.invalid:8080"])
def test_a_dead_way_out_disables_nobody(sim: Simulator, tmp_path: Path, way: str) -> None:
    """S114."""
    pool = pool_of(2)
    pool[0]["proxyUrl"] = way
    with serving(sim, tmp_path, pool) as proxy:
        for _ in range(4):
            answer = post(proxy, body())
            assert answer.status_code == 200
        assert bearers(sim) == ["access-2"] * 4
        [first, *_] = explain(proxy, answer)["attempts"]
        assert (first["credential_id"], first["outcome"]) == (1, "Unreachable")
        assert not any(one.get("disabled") for one in stored(proxy))


def test_s109_a_spent_quota_rests_until_upstreams_date(sim: Simulator, tmp_path: Path) -> None:
    resets_at = int(time.time()) + 5 * 86400
    sim.account(accessToken="access-1", quota=0, resetsAt=resets_at)
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        assert [post(proxy, body()).status_code for _ in range(2)] == [200, 200]
        assert bearers(sim) == ["access-1", "access-2", "access-2"]
        deadline = time.monotonic() + 5
        day = time.strftime("%Y-%m-%d", time.gmtime(resets_at))
        while not stored(proxy)[0].get("disabledUntil", "").startswith(day):
            assert time.monotonic() < deadline, stored(proxy)[0]
            time.sleep(0.05)
        assert stored(proxy)[0]["disabledReason"] == "QuotaExceeded"
        sim.account(id="account-1", quota=100)
        entries = stored(proxy)
        entries[0]["disabledUntil"] = "2026-01-01T00:00:00Z"  # its date has come
        proxy.credentials_path.write_text(json.dumps(entries))
        time.sleep(1.1)
        assert post(proxy, body()).status_code == 200
        assert bearers(sim)[-1] == "access-1"


def test_a_suspended_account_waits_for_a_person(sim: Simulator, tmp_path: Path) -> None:
    suspended = sim.account(accessToken="access-1", fault="suspended")
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        assert post(proxy, body()).status_code == 200
        time.sleep(SNAPSHOT_S)
        for _ in range(3):
            assert post(proxy, body()).status_code == 200
        assert bearers(sim).count("access-1") == 1
        assert stored(proxy)[0]["disabledReason"] == "Suspended"
        sim.account(id=suspended["id"], fault=None)
        requests.patch(
            f"{proxy.url}/api/tokens/1",
            json={"disabled": False},
            headers={"x-api-key": ADMIN},
            timeout=10,
        )
        time.sleep(1.1)
        assert post(proxy, body()).status_code == 200
        assert bearers(sim)[-1] == "access-1"


def test_f17_s108_s115_refused_too_often_and_healed(sim: Simulator, tmp_path: Path) -> None:
    refused = {"status": 401, "body": {"message": "no"}}
    with serving(sim, tmp_path, pool_of(1)) as proxy:
        sim.script(refused, times=None)
        assert [post(proxy, body()).status_code for _ in range(2)] == [503, 503]
        assert stored(proxy)[0]["disabledReason"] == "TooManyFailures"
        time.sleep(SNAPSHOT_S)
        sim.reset()
        assert post(proxy, body()).status_code == 200, "the last one comes back"
        assert not stored(proxy)[0].get("disabled")


def test_f17_all_disabled_then_recovered(sim: Simulator, tmp_path: Path) -> None:
    """Requests are told so at once, and not sent; who heals a credential is heard in a second."""
    for number in (1, 2):
        sim.account(id=f"one-{number}", accessToken=f"access-{number}", fault="suspended")
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        assert post(proxy, body()).status_code in (403, 503)
        time.sleep(SNAPSHOT_S)
        assert [one["disabledReason"] for one in stored(proxy)] == ["Suspended"] * 2
        ready = requests.get(f"{proxy.url}/readyz", timeout=10)
        assert (ready.status_code, ready.json()["reasons"][0]) == (503, "no usable credential")
        before = len(bearers(sim))
        assert set(flood(proxy, 20)) == {503}
        assert len(bearers(sim)) == before, "Kiro is not asked"
        sim.account(id="one-2", fault=None)
        answer = requests.patch(
            f"{proxy.url}/api/tokens/2",
            json={"disabled": False},
            headers={"x-api-key": ADMIN},
            timeout=10,
        )
        assert answer.status_code == 200
        time.sleep(SNAPSHOT_S)
        assert set(flood(proxy, 10, clients=4)) == {200}
        assert set(bearers(sim)[before:]) == {"access-2"}
        assert requests.get(f"{proxy.url}/readyz", timeout=10).status_code == 200


def test_what_a_plan_lacks_is_remembered(sim: Simulator, tmp_path: Path) -> None:
    """INVALID_MODEL_ID: the next one without penalty, and not the first one again."""
    sim.account(accessToken="access-1", models=["claude-sonnet-4.5"])
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        opus = body(model="claude-opus-4-6")
        assert post(proxy, opus).status_code == 200
        time.sleep(1.1)
        for _ in range(4):
            answer = post(proxy, opus)
            assert answer.status_code == 200
        assert bearers(sim) == ["access-1", *["access-2"] * 5]
        [skip] = explain(proxy, answer)["skipped"]
        assert skip["reason"] == "no claude-opus-4.6"
        assert post(proxy, body()).status_code == 200
        assert bearers(sim)[-1] == "access-1", "for all else it serves"


def test_a_profile_that_is_missing_is_found_and_kept(sim: Simulator, tmp_path: Path) -> None:
    """Protocol notes 2.5 and 6.4."""
    arn = "arn:aws:codewhisperer:eu-central-1:111122223333:profile/FOUND"
    sim.account(accessToken="access-1", requireProfileArn=True, profiles=[arn])
    pool = pool_of(1, authMethod="idc", clientId="c", clientSecret="s", provider="Enterprise")
    with serving(sim, tmp_path, pool) as proxy:
        assert post(proxy, body()).status_code == 200
        assert len(bearers(sim)) == 2
        assert stored(proxy)[0]["profileArn"] == arn


def test_an_api_key_serves(sim: Simulator, tmp_path: Path) -> None:
    key = {"id": 1, "kiroApiKey": "ksk_example", "authMethod": "api_key"}
    with serving(sim, tmp_path, [key]) as proxy:
        assert post(proxy, body()).status_code == 200
        [call] = sim.requests("/generateAssistantResponse")
        assert (call["bearer"], call["headers"]["tokentype"]) == ("ksk_example", "API_KEY")
        assert "profileArn" not in call["body"]


# ---- choosing --------------------------------------------------------------------------------


def test_conversations_stick(sim: Simulator, tmp_path: Path) -> None:
    """At least 99 % of 1,000 interleaved conversations, recognised by their first message."""
    with serving(sim, tmp_path, pool_of(4), loadBalancingMode="balanced") as proxy:
        users: list[dict[str, Any]] = [
            {"role": "user", "content": f"question {n} of this conversation"} for n in range(1000)
        ]

        def ask(n: int) -> None:
            assert post(proxy, body(messages=[users[n]])).status_code == 200
            more = [
                users[n],
                {"role": "assistant", "content": "yes"},
                {"role": "user", "content": "go on"},
            ]
            assert post(proxy, body(messages=more)).status_code == 200

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(ask, range(1000)))
        of: dict[str, list[str]] = {}
        for call in sim.requests("/generateAssistantResponse"):
            text = json.dumps(call["body"])
            number = text.split("question ")[1].split(" ")[0]
            of.setdefault(number, []).append(call["bearer"])
        assert len(of) == 1000
        assert sum(len(set(used)) == 1 for used in of.values()) >= 990


def test_balanced_is_within_ten_percent(sim: Simulator, tmp_path: Path) -> None:
    config = {"loadBalancingMode": "balanced", "maxConcurrent": 50}
    with serving(sim, tmp_path, pool_of(3), **config) as proxy:
        before = proxy.credentials_path.stat()
        assert set(flood(proxy, 3000, clients=16)) == {200}
        shares = Counter(sim.state()["callsPerBearer"])
        assert all(900 <= shares[f"access-{n}"] <= 1100 for n in (1, 2, 3)), shares
        assert proxy.credentials_path.stat() == before, "a success writes nothing"


def test_places_are_limited_across_workers(sim: Simulator, tmp_path: Path) -> None:
    """Those over the limit wait, and then get 429."""
    sim.script({"steps": [{"gate": "open"}, {"text": "at last"}, {"metering": 0.1}]}, times=None)
    config = {"queueWaitSec": 1.5, "firstFrameWaitSec": 0.1}
    with serving(sim, tmp_path, pool_of(2, maxConcurrent=3), **config) as proxy:
        streams = [Stream(proxy, body()) for _ in range(6)]
        assert {one.status for one in streams} == {200}
        began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: post(proxy, body()), range(8)))
        assert {one.status_code for one in answers} == {429}
        assert all(one.headers["retry-after"] for one in answers)
        assert 1.4 <= time.monotonic() - began < 5
        with ThreadPoolExecutor(4) as threads:
            waiting = [threads.submit(post, proxy, body()) for _ in range(4)]
            time.sleep(0.3)
            sim.gate("open", None)
            assert [one.result().status_code for one in waiting] == [200] * 4
        for stream in streams:
            assert list(stream)
            stream.close()
        assert max(sim.state()["perBearerMax"].values()) == 3


def test_those_who_wait_are_served_in_order(sim: Simulator, tmp_path: Path) -> None:
    """Across the workers."""
    sim.script({"steps": [{"gate": "open"}, {"text": "at last"}, {"metering": 0.1}]}, times=None)
    with serving(sim, tmp_path, pool_of(1, maxConcurrent=1), firstFrameWaitSec=0.1) as proxy:
        holder = Stream(proxy, body("number 0"))
        with ThreadPoolExecutor(8) as threads:
            waiting = []
            for n in range(1, 9):
                waiting.append(threads.submit(post, proxy, body(f"number {n}")))
                time.sleep(0.15)
            sim.gate("open", None)
            assert [one.result().status_code for one in waiting] == [200] * 8
        assert list(holder)
        holder.close()
        prompts = [
            one["body"]["conversationState"]["currentMessage"]["userInputMessage"]["content"]
            for one in sim.requests("/generateAssistantResponse")
        ]
        assert prompts == [f"number {n}" for n in range(9)]
        assert max(sim.state()["perBearerMax"].values()) == 1


def test_groups_keep_to_themselves(sim: Simulator, tmp_path: Path) -> None:
    """S119, S120: also when their own credentials fail."""
    pool = pool_of(2)
    pool[1]["group"] = "pro"
    with serving(sim, tmp_path, pool) as proxy:
        assert post(proxy, body(), "/pro/v1/messages").status_code == 200
        assert post(proxy, body()).status_code == 200
        assert bearers(sim) == ["access-2", "access-1"]
        sim.script(SLOW, times=None, bearer="access-2")
        assert post(proxy, body(), "/pro/v1/messages").status_code == 429
        assert bearers(sim)[2:] == ["access-2"] * 3
        assert post(proxy, body(), "/nobody/v1/messages").status_code == 404


def test_an_edit_is_seen_without_a_restart(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path, pool_of(2)) as proxy:
        assert post(proxy, body()).status_code == 200
        entries = stored(proxy)
        entries[0]["disabled"] = True
        proxy.credentials_path.write_text(json.dumps(entries))
        time.sleep(1.1)
        answers = [post(proxy, body()) for _ in range(4)]
        assert bearers(sim) == ["access-1", *["access-2"] * 4]
        assert [explain(proxy, one)["skipped"][0]["reason"] for one in answers] == [
            "disabled: Manual"
        ] * 4
