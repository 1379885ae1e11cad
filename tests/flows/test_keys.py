"""Client keys, limits, the fair queue and the ledger: two workers, real processes (issue 7)."""

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook, parse_settings
from kiroproxy.ledger.usage_query import Asked, UsageReader
from tests.flows.client import Stream, body, flood, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

SEEN_S = 1.2
"""After this every worker knows of a new key."""
WRITTEN_S = 3.0
"""After this the ledger has what was recorded."""
CHAT = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello!"}]}


class Place:
    """A server, and the database behind it seen from outside."""

    def __init__(self, proxy: Proxy, url: str) -> None:
        self.proxy = proxy
        self.database = Database(url)
        self.book = KeyBook(self.database)
        self.reader = UsageReader(self.database)

    def key(self, name: str, **settings: Any) -> str:
        made = self.book.create(parse_settings({"name": name} | settings))
        return made.secret

    def send(self, secret: str, prompt: str = "Hello, Claude!", **more: Any) -> requests.Response:
        return post(self.proxy, body(prompt), headers={"x-api-key": secret}, **more)

    def rows(self) -> list[Any]:
        """What the ledger has, once it has had the time to write it."""
        time.sleep(WRITTEN_S)
        return list(self.reader.rows(Asked(), page_size=1000).rows)


@contextmanager
def serving(sim: Simulator, place: Path, credentials: Any = None, **config: Any) -> Iterator[Place]:
    given = {"adminApiKey": "sk-admin", "logLevel": "warn", "databasePath": str(place / "k.db")}
    with Proxy(place, given | config, credentials or [credential()], upstream=sim.url) as proxy:
        yield Place(proxy, config.get("databaseUrl", f"sqlite:///{place / 'k.db'}"))


# ---- who may -------------------------------------------------------------------------------


def test_what_a_key_may_do(sim: Simulator, tmp_path: Path) -> None:
    pool = [credential(id=1), credential(id=2, refreshToken=LONG_TOKEN + "2", group="pro")]
    with serving(sim, tmp_path, pool) as place:
        past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        all_ = place.key("all")
        pro = place.key("pro only", allowed_groups=["pro"])
        haiku = place.key("cheap", models=["claude-haiku-*"])
        old, off = place.key("old", expires_at=past), place.key("off", disabled=True)
        time.sleep(SEEN_S)
        answers = {
            "all": place.send(all_),
            "unknown": place.send("kp_" + "x" * 43),
            "old": place.send(old),
            "off": place.send(off),
            "pro": place.send(pro, path="/pro/v1/messages"),
            "pro elsewhere": place.send(pro),
            "haiku": place.send(haiku),
        }
        statuses = {name: answer.status_code for name, answer in answers.items()}
        assert statuses == {
            "all": 200,
            "unknown": 401,
            "old": 401,
            "off": 401,
            "pro": 200,
            "pro elsewhere": 403,
            "haiku": 403,
        }
        assert "has expired" in answers["old"].json()["error"]["message"]
        refused = answers["haiku"].json()["error"]
        assert refused["type"] == "permission_error"
        assert "cheap" in refused["message"]
        assert "claude-sonnet-4-5" in refused["message"]
        assert "default" in answers["pro elsewhere"].json()["error"]["message"]
        chat = post(
            place.proxy,
            CHAT,
            "/v1/chat/completions",
            {"x-api-key": "", "authorization": f"Bearer {haiku}"},
        )
        assert chat.status_code == 403
        assert set(chat.json()["error"]) >= {"message", "type", "code", "param"}
        place.book.change("all", {"disabled": True})
        time.sleep(SEEN_S)
        assert {place.send(all_).status_code for _ in range(6)} == {401}, "in both workers"


def test_all_of_it_on_postgresql(sim: Simulator, tmp_path: Path, postgres_url: str) -> None:
    """Two workers share it; while somebody locks it, requests go on and nothing is lost."""
    with serving(sim, tmp_path, databaseUrl=postgres_url) as place:
        secret = place.key("agent", limits={"requests_per_minute": 99}, budgets={"day_soft": 0.01})
        time.sleep(SEEN_S)
        assert {place.send(secret).status_code for _ in range(6)} == {200}
        assert len(place.rows()) == 6
        own = requests.get(f"{place.proxy.url}/v1/me", headers={"x-api-key": secret}, timeout=10)
        assert own.json()["usage"]["today"]["requests"] == 6
        with place.database._opened().connect() as locking, locking.begin():
            for table in ("usage", "marks"):
                locking.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            for _ in range(4):
                assert {place.send(secret).status_code for _ in range(5)} == {200}
                time.sleep(0.5)
            assert time.monotonic() - began < 10
        assert len(place.rows()) == 26
        place.book.change("agent", {"disabled": True})
        time.sleep(SEEN_S)
        assert {place.send(secret).status_code for _ in range(6)} == {401}, "in both workers"
        assert not (tmp_path / "k.db").exists() or not sqlite_tables(tmp_path / "k.db")


def sqlite_tables(path: Path) -> set[str]:
    """What lies in the file that is used where no URL is given, but for groups."""
    with closing(sqlite3.connect(path)) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master")} - {"groups"}


# ---- limits --------------------------------------------------------------------------------


def test_requests_a_minute_are_exact_across_workers(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path) as place:
        secret = place.key("agent", limits={"requests_per_minute": 10})
        time.sleep(SEEN_S)
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: place.send(secret), range(40)))
        assert Counter(one.status_code for one in answers) == {200: 10, 429: 30}
        assert len(sim.requests("/generateAssistantResponse")) == 10
        refused = next(one for one in answers if one.status_code == 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert refused.headers["anthropic-ratelimit-requests-limit"] == "10"
        assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
        good = [one for one in answers if one.status_code == 200]
        left = {int(one.headers["anthropic-ratelimit-requests-remaining"]) for one in good}
        assert left == set(range(10)), "told on every answer"
        assert place.send(place.proxy.key).status_code == 200, "the root key has no limit"


def test_streams_at_once_and_openais_headers(sim: Simulator, tmp_path: Path) -> None:
    sim.script({"steps": [{"text": "a"}, {"gate": "open"}, {"metering": 0.1}]}, times=None)
    with serving(sim, tmp_path) as place:
        place.proxy.key = place.key("agent", limits={"concurrent": 3, "requests_per_minute": 99})
        time.sleep(SEEN_S)
        streams = [Stream(place.proxy, body()) for _ in range(3)]
        assert {one.status for one in streams} == {200}
        for one in streams:
            one.next("content_block_delta")
        chat = post(place.proxy, CHAT, "/v1/chat/completions")
        assert chat.status_code == 429
        assert chat.headers["x-ratelimit-limit-requests"] == "99"
        assert chat.json()["error"]["code"] == "rate_limit_exceeded"
        streams[0].close()  # a client that leaves frees its place
        deadline = time.monotonic() + 5
        sim.gate("open", None)
        while post(place.proxy, body()).status_code != 200:
            assert time.monotonic() < deadline
        for one in streams[1:]:
            one.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_search_of_its_own_is_limited_too(sim: Simulator, tmp_path: Path, stream: bool) -> None:
    """Its call comes after the answer's beginning; a refusal must come before it."""
    search = {"type": "web_search_20250305", "name": "web_search"}
    request = body("Perform a web search for the query: frames", tools=[search], stream=stream)
    with serving(sim, tmp_path) as place:
        place.proxy.key = place.key("agent", limits={"requests_per_minute": 1, "concurrent": 1})
        time.sleep(SEEN_S)
        first, second = (post(place.proxy, request) for _ in range(2))
        assert [first.status_code, second.status_code] == [200, 429]
        assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
        assert "1 requests a minute" in second.json()["error"]["message"]
        assert len(sim.requests("/mcp")) == 1
        assert [row.status for row in place.rows()] == [429, 200]


def test_what_a_failed_attempt_cost_is_counted(sim: Simulator, tmp_path: Path) -> None:
    sim.script({"steps": [{"text": "x"}, {"metering": 0.5}, {"reset": True}]})
    with serving(sim, tmp_path) as place:
        assert place.send(place.proxy.key).status_code == 200
        (row,) = place.rows()
        assert (row.attempts, row.credits) == (2, pytest.approx(0.5125))


def test_a_hard_budget_ends_it_and_a_soft_one_warns(sim: Simulator, tmp_path: Path) -> None:
    sim.script({"steps": [{"text": "hello"}, {"context": 1.0}, {"metering": 0.6}]}, times=None)
    with serving(sim, tmp_path) as place:
        secret = place.key("agent", budgets={"day_soft": 0.5, "day_hard": 1})
        time.sleep(SEEN_S)
        first, second, third = (place.send(secret) for _ in range(3))
        assert [one.status_code for one in (first, second, third)] == [200, 200, 429]
        assert "x-kiroproxy-warning" not in first.headers
        assert "0.60 of 1 credits this day" in second.headers["x-kiroproxy-warning"]
        assert "1 credits of this day" in third.json()["error"]["message"]
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
        left = (midnight - datetime.now(UTC)).total_seconds()
        assert abs(int(third.headers["retry-after"]) - left) < 5


# ---- the queue -----------------------------------------------------------------------------


def test_two_keys_share_what_is_scarce(sim: Simulator, tmp_path: Path) -> None:
    """Ten times the load of one does not take the places of the other."""
    sim.script(
        {"steps": [{"text": "x"}, {"delay": 0.1}, {"context": 1.0}, {"metering": 0.1}]}, times=None
    )
    pool = [credential(maxConcurrent=4)]
    with serving(sim, tmp_path, pool) as place:
        keys = {"heavy": place.key("heavy"), "light": place.key("light")}
        time.sleep(SEEN_S)
        done: Counter[str] = Counter()
        over = threading.Event()

        def work(name: str) -> None:
            while not over.is_set():
                if place.send(keys[name]).status_code == 200 and not over.is_set():
                    done[name] += 1

        crowd = ["heavy"] * 40 + ["light"] * 4
        threads = [threading.Thread(target=work, args=(name,)) for name in crowd]
        for thread in threads:
            thread.start()
        time.sleep(6)
        over.set()
        for thread in threads:
            thread.join()
        share = done["light"] / sum(done.values())
        assert 0.4 <= share <= 0.6, done


def test_two_keys_share_a_single_place(sim: Simulator, tmp_path: Path) -> None:
    """Nobody holds it when it comes free, so it is not enough to look who holds more."""
    sim.script(
        {"steps": [{"text": "x"}, {"delay": 0.1}, {"context": 1.0}, {"metering": 0.1}]}, times=None
    )
    with serving(sim, tmp_path, [credential(maxConcurrent=1)]) as place:
        keys = {"heavy": place.key("heavy"), "light": place.key("light")}
        time.sleep(SEEN_S)
        order: list[str] = []

        def work(name: str) -> None:
            assert place.send(keys[name]).status_code == 200
            order.append(name)

        threads = [threading.Thread(target=work, args=("heavy",)) for _ in range(16)]
        threads += [threading.Thread(target=work, args=("light",)) for _ in range(4)]
        for thread in threads:
            thread.start()
            time.sleep(0.01)
        for thread in threads:
            thread.join()
        assert max(n for n, name in enumerate(order) if name == "light") < 14, order


def test_a_flood_is_refused_and_leaves_nothing(sim: Simulator, tmp_path: Path) -> None:
    """5,000 requests, 200 at once, most of which find the queue full."""
    sim.script(
        {"steps": [{"text": "x"}, {"delay": 0.5}, {"context": 1.0}, {"metering": 0.1}]}, times=None
    )
    pool = [credential(maxConcurrent=2)]
    with serving(sim, tmp_path, pool, queueLimit=8, queueWaitSec=3) as place:
        own = place.key("flooder")
        time.sleep(SEEN_S)
        place.proxy.key = own
        assert post(place.proxy, body()).status_code == 200
        time.sleep(WRITTEN_S)  # until the ledger's libraries are loaded
        answers = flood(place.proxy, body("y" * 20_000), 1500, 200)
        before = memory(place.proxy)
        answers += flood(place.proxy, body("y" * 20_000), 3500, 200)
        after = memory(place.proxy)
        codes = Counter(status for status, _, _ in answers)
        assert set(codes) == {200, 429}
        refused = [(headers, text) for status, headers, text in answers if status == 429]
        assert len(refused) > 4000, codes
        assert any(b"queue is full" in text for _, text in refused)
        assert all(1 <= int(headers["retry-after"]) <= 120 for headers, _ in refused)
        assert after - before < 12e6, "of two workers: 200 at once have come before"
        assert max(sim.state()["perBearerMax"].values()) <= 2
        time.sleep(WRITTEN_S)
        sums = place.reader.totals(Asked(), ["status"])
        assert {one.by["status"]: one.requests for one in sums} == codes + Counter({200: 1})


def memory(proxy: Proxy) -> int:
    """Bytes that the workers use."""
    return sum(one.memory_info().rss for one in workers(proxy))


def workers(proxy: Proxy) -> list[psutil.Process]:
    return psutil.Process(proxy.process.pid).children()


# ---- the ledger ----------------------------------------------------------------------------


def test_the_ledger_has_what_kiro_billed(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path) as place:
        secret = place.key("agent")
        time.sleep(SEEN_S)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: place.send(secret), range(40)))
        post(place.proxy, CHAT, "/v1/chat/completions")
        rows = place.rows()
        assert len(rows) == 41
        totals = place.reader.totals(Asked())
        assert totals[0].requests == 41
        assert totals[0].output_tokens == sum(row.output_tokens for row in rows) > 0
        assert totals[0].credits == pytest.approx(41 * 0.0125), "what the simulator billed"
        agents = [row for row in rows if row.key_id]
        assert len({row.trace_id for row in agents}) == 40
        assert {row.trace_id for row in agents} == {
            one.headers["x-kiroproxy-trace"] for one in answers
        }
        assert sum(row.input_tokens for row in agents) == sum(
            one.json()["usage"]["input_tokens"] for one in answers
        )
        assert {row.dialect for row in rows} == {"anthropic", "openai_chat"}
        assert {(row.model, row.attempts, row.status) for row in rows} == {
            ("claude-sonnet-4.5", 1, 200)
        }


def test_a_killed_worker_loses_seconds_and_counts_nothing_twice(
    sim: Simulator, tmp_path: Path
) -> None:
    with serving(sim, tmp_path) as place:
        secret = place.key("agent")
        time.sleep(SEEN_S)
        sent: list[tuple[float, str]] = []
        for n in range(60):
            answer = place.send(secret)
            sent.append((time.time(), answer.headers["x-kiroproxy-trace"]))
            if n == 40:
                killed = time.time()
                os.kill(workers(place.proxy)[0].pid, signal.SIGKILL)
                time.sleep(1)
            time.sleep(0.05)
        traces = [row.trace_id for row in place.rows()]
        assert len(traces) == len(set(traces)), "nothing twice"
        missing = [at for at, trace in sent if trace not in set(traces)]
        assert all(killed - 5 <= at <= killed for at in missing)
