"""Streaming is real: decided by order, not by a clock; and a vanished client frees upstream."""

import json
import socket
import struct
import time
from typing import Any

import pytest

from tests.flows.client import Stream, assemble, body, events_of, post, text_of
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]


def test_s36_each_frame_is_passed_on_before_the_next_one_exists(
    sim: Simulator, proxy: Proxy
) -> None:
    words = [f"word{k} " for k in range(20)]
    steps = [{"each_gated": "go"}, *({"text": word} for word in words), *TRAILERS]
    sim.script({"steps": steps})
    sim.gate("go")
    stream = Stream(proxy, body())
    for word in words:
        assert stream.next("content_block_delta")["delta"]["text"] == word
        sim.gate("go")
    sim.gate("go", None)
    assert stream.next("message_delta")["delta"]["stop_reason"] == "end_turn"
    stream.close()


def test_tool_input_streams_as_it_arrives(sim: Simulator, proxy: Proxy) -> None:
    tool = {"name": "t", "input": {"path": "a" * 50}, "fragments": 10}
    sim.script({"steps": [{"each_gated": "go"}, {"tool": tool}, *TRAILERS]})
    sim.gate("go", 2)
    stream = Stream(proxy, body(tools=[{"name": "t", "input_schema": {"type": "object"}}]))
    parts = []
    for _ in range(10):
        parts.append(stream.next("content_block_delta")["delta"]["partial_json"])
        sim.gate("go")
    assert json.loads("".join(parts)) == {"path": "a" * 50}
    sim.gate("go", None)
    assert stream.next("message_delta")["delta"]["stop_reason"] == "tool_use"
    stream.close()


@pytest.mark.parametrize("chunks", [[1], [1, 7, 3, 64, 2, 11], [100_000]])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_s41_characters_cut_by_chunks_are_whole(
    sim: Simulator, proxy: Proxy, chunks: list[int], framing: str
) -> None:
    text = "café 你好 🧪 рус \u0000 haha haha"
    steps = [{"text": letter} for letter in text]
    sim.script({"steps": [*steps, *TRAILERS], "chunks": chunks, "framing": framing}, times=2)
    streamed = assemble(events_of(proxy, body()))
    assert text_of(streamed) == text
    assert text_of(post(proxy, body()).json()) == text, "S44: both ways are equal"


def test_surrogate_pair_cut_into_two_frames(sim: Simulator, proxy: Proxy) -> None:
    high = {"event": "assistantResponseEvent", "payload": '{"content": "a\\ud83e"}'}
    low = {"event": "assistantResponseEvent", "payload": '{"content": "\\uddeab"}'}
    alone = {"event": "assistantResponseEvent", "payload": '{"content": "c\\udc00d"}'}
    sim.script({"steps": [high, low, alone, *TRAILERS]})
    assert text_of(assemble(events_of(proxy, body()))) == "a🧪bc\ufffdd"


def test_silence_is_filled_with_pings(sim: Simulator, hasty_proxy: Proxy) -> None:
    """X20: the answer starts after `firstFrameWaitSec` at the latest; then pings."""
    sim.script({"steps": [{"gate": "go"}, {"text": "late"}, *TRAILERS]})
    stream = Stream(hasty_proxy, body())
    seen = []
    for event in stream:
        seen.append(event["type"])
        if seen.count("ping") == 2:
            sim.gate("go")
        if event["type"] == "message_stop":
            break
    assert seen[:3] == ["message_start", "ping", "ping"]
    stream.close()


@pytest.mark.parametrize("silent_before_headers", [False, True])
@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_f10_s43_vanished_client_frees_upstream_within_a_second(
    sim: Simulator, proxy: Proxy, how: str, silent_before_headers: bool
) -> None:
    steps: list[Any] = [] if silent_before_headers else [{"text": "hello"}]
    sim.script({"steps": [*steps, {"hang": None}]})
    client = socket.create_connection(("127.0.0.1", proxy.port))
    data = json.dumps(body(stream=True)).encode()
    client.sendall(
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (proxy.key.encode(), len(data), data)
    )
    sim.wait_for(streamsOpen=1)
    if not silent_before_headers:
        seen = b""
        while b"hello" not in seen:
            seen += client.recv(65536)
    left = time.monotonic()
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
    elif how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    else:
        client.close()
    sim.wait_for(streamsOpen=0, timeout_s=3)
    assert time.monotonic() - left < 1.0
    client.close()
    assert post(proxy, body()).status_code == 200


def test_f11_slow_reader_does_not_fill_memory(sim: Simulator, proxy: Proxy) -> None:
    """What the client does not read is not read from upstream either."""
    line = {"text": "x" * 60_000}
    sim.script({"steps": [{"repeat": 2000, "steps": [line]}, *TRAILERS]})
    stream = Stream(proxy, body())
    stream.next("content_block_delta")
    time.sleep(0.5)
    assert sim.state()["streamsOpen"] == 1, "120 MB cannot be on their way"
    stream.close()
    sim.wait_for(streamsOpen=0)


def test_connections_to_upstream_are_kept(sim: Simulator, proxy: Proxy) -> None:
    for _ in range(20):
        assert post(proxy, body()).status_code == 200
    ports = {request["peer"] for request in sim.requests("/generateAssistantResponse")}
    assert len(ports) <= 2, "one connection a worker"
