"""The yardstick measures the right thing: both servers give the text that was canned."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from kiroproxy.eventstream import Decoder
from tests.bench import bodies, canned
from tests.bench.__main__ import BEGIN, END, markdown_table, write_page
from tests.bench.load import BODIES, Connection, Streams, http_request
from tests.bench.processes import Canned, Server, cpu_seconds, naive_server, our_server
from tests.bench.rows import Result


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with Canned() as running:
        yield running.url


@pytest.fixture(scope="module", params=[naive_server, our_server])
def server(
    request: pytest.FixtureRequest, upstream: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with request.param(tmp_path_factory.mktemp("bench"), upstream) as running:
        yield running


def sse_text(answer: bytes) -> str:
    """The text of a streamed answer, as it lies on the wire."""
    lines = (line for line in answer.splitlines() if line.startswith(b"data: "))
    events = [json.loads(line[6:]) for line in lines]
    assert events[-1]["type"] == "message_stop"
    return "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")


@pytest.mark.parametrize(
    ("scene", "texts"),
    [("small", canned.SMALL), ("burst", canned.WORDS), ("joined", canned.WORDS)],
)
def test_the_upstream_sends_sound_frames(upstream: str, scene: str, texts: list[str]) -> None:
    body = bodies.ask(scene)
    answer = requests.post(f"{upstream}/generateAssistantResponse", data=body, timeout=10)
    payloads = [json.loads(frame.payload) for frame in Decoder().feed(answer.content)]
    assert [one["content"] for one in payloads[: len(texts)]] == texts
    assert payloads[-2]["contextUsagePercentage"] == 3.25
    assert payloads[-1]["usage"] == 0.0123


def test_the_upstream_refreshes_tokens(upstream: str) -> None:
    answer = requests.post(f"{upstream}/refreshToken", json={"refreshToken": "x"}, timeout=10)
    assert answer.json()["accessToken"]


def test_stamped_frames_are_sound() -> None:
    for now in (5.5, 12345.25, 1234567.0):
        (frame,) = Decoder().feed(canned._stamped(now))
        assert json.loads(frame.payload)["content"] == f"@{now:.6f}; and a word"


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("small_stream", canned.SMALL),
        ("burst", canned.WORDS),
        ("joined", canned.WORDS),
        ("large", canned.SMALL),
    ],
)
def test_streams_have_the_right_text(server: Server, body: str, texts: list[str]) -> None:
    connection = Connection(server.port)
    for _ in range(2):  # the connection is kept
        answer = connection.exchange(http_request(BODIES[body]()))
        assert sse_text(answer) == "".join(texts)
    connection.close()


def test_small_answers_have_the_right_text(server: Server) -> None:
    connection = Connection(server.port)
    answer = connection.exchange(http_request(BODIES["small"]()))
    connection.close()
    message = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert message["content"] == [{"type": "text", "text": "".join(canned.SMALL)}]
    assert message["stop_reason"] == "end_turn"


def test_paced_streams_are_counted(server: Server) -> None:
    before = server.cpu_s()
    result = Streams(server.port, count=4, frames=10, ramp_s=0.1).run()
    assert result["errors"] == []
    assert result["frames"] == 40
    assert 0 < result["median"] <= result["p99"] <= result["max"] < 10
    assert server.cpu_s() > before


def test_the_large_request_is_large() -> None:
    body = bodies.large("small")
    assert 1_330_000 < len(body) < 1_370_000
    assert len(json.loads(body)["tools"]) == 150


def test_cpu_time_is_measured() -> None:
    with pytest.raises(Exception, match="4194305"):
        cpu_seconds(4194305)


def test_the_table_goes_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    results = [Result("a row", "1", "2", "0.50 ×", "≤ 1", True)]
    write_page(page, results)
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    assert markdown_table(results).splitlines()[-1] == "| a row | 1 | 2 | 0.50 × | ≤ 1 | ✓ |"
