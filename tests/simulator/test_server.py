"""What happens to connections: gates, delays, cuts, resets, and clients that leave."""

import http.client
import socket
import time

import pytest

from kiroproxy.eventstream import Decoder
from tests.simulation import Simulator
from tests.simulator.conftest import Caller

NOTICED_S = 0.5
"""Departures are noticed in milliseconds; the rest is for a busy machine."""


def leave(response: http.client.HTTPResponse) -> None:
    """Close the client's end for good."""
    response.close()


def test_frames_wait_for_their_gate(sim: Simulator, caller: Caller) -> None:
    response = caller.start("[[sim: gated]]")
    decoder = Decoder()
    for _ in range(5):
        assert sim.state()["streamsOpen"] == 1
        sim.gate("gated")
        frames = []
        while not frames:
            frames = decoder.feed(response.read1())
        assert len(frames) == 1
    assert response.read() == b""
    sim.wait_for(streamsOpen=0, streamsFinished=1)


def test_an_open_gate_holds_nobody(sim: Simulator, caller: Caller) -> None:
    sim.gate("gated", None)
    for _ in range(3):
        assert len(Decoder().feed(caller.chat("[[sim: gated]]")[1])) == 5


def test_delays_hold_frames_back(caller: Caller) -> None:
    start = time.monotonic()
    caller.chat('[[sim: {"steps": [{"text": "a"}, {"delay": 0.2}, {"text": "b"}]}]]')
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("scene", ["reset", "reset-late", "reset-head"])
def test_a_reset_is_a_reset(sim: Simulator, caller: Caller, scene: str) -> None:
    with pytest.raises(ConnectionResetError):
        caller.chat(f"[[sim: {scene}]]")
    sim.wait_for(streamsOpen=0, inFlight=0, streamsBroken=1)


@pytest.mark.parametrize("scene", ["close", "close-late", "cut-chunk-late", "length-cut"])
def test_a_silent_close_leaves_the_body_incomplete(caller: Caller, scene: str) -> None:
    with pytest.raises(http.client.IncompleteRead):
        caller.chat(f"[[sim: {scene}]]")


def test_a_close_before_the_head_is_no_answer(caller: Caller) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        caller.chat("[[sim: close-head]]")


def test_half_a_frame_ends_as_http_should(caller: Caller) -> None:
    status, body = caller.chat("[[sim: cut-frame]]")
    assert (status, len(body)) == (200, 20)


@pytest.mark.parametrize(
    ("scene", "complete"),
    [
        ("hang-late", True),
        ("gated", False),
        ("slow-start", False),
        ("stays-open", True),
        ("metering-stays-open", True),
    ],
)
def test_a_client_that_leaves_a_waiting_stream_is_noticed(
    sim: Simulator, caller: Caller, scene: str, complete: bool
) -> None:
    response = caller.start(f"[[sim: {scene}]]")
    assert sim.state()["streamsOpen"] == 1
    left = time.time()
    leave(response)
    for connection in caller._open:
        connection.close()
    state = sim.wait_for(streamsOpen=0, streamsClosedByClient=1, inFlight=0)
    (departure,) = state["departures"]
    assert departure["time"] - left < NOTICED_S
    assert departure["bearer"] == "me"
    assert departure["complete"] is complete


def test_a_client_that_leaves_before_the_head_is_noticed(sim: Simulator, caller: Caller) -> None:
    raw = socket.create_connection(("127.0.0.1", int(sim.url.rsplit(":", 1)[1])))
    caller_body = b'{"conversationState":{"chatTriggerType":"MANUAL","currentMessage":'
    caller_body += b'{"userInputMessage":{"content":"[[sim: hang-head]]"}}}}'
    head = f"POST /generateAssistantResponse HTTP/1.1\r\ncontent-length: {len(caller_body)}\r\n"
    raw.sendall(head.encode() + b"authorization: Bearer me\r\n\r\n" + caller_body)
    sim.wait_for(streamsOpen=1)
    raw.close()
    sim.wait_for(streamsOpen=0, streamsClosedByClient=1)


def test_a_connection_serves_again_after_a_whole_stream(caller: Caller) -> None:
    connection = caller.connect()
    body = '{"conversationState":{"chatTriggerType":"MANUAL","currentMessage":'
    body += '{"userInputMessage":{"content":"[[sim: paced 2 0.01]]"}}}}'
    ports = set()
    for _ in range(3):
        connection.request(
            "POST", "/generateAssistantResponse", body, {"authorization": "Bearer me"}
        )
        response = connection.getresponse()
        assert len(Decoder().feed(response.read())) == 4
        ports.add(connection.sock.getsockname()[1])
    assert len(ports) == 1


def test_closing_framing_ends_with_the_connection(caller: Caller) -> None:
    response = caller.start("[[sim: until-close]]")
    assert response.getheader("connection") == "close"
    assert len(Decoder().feed(response.read())) == 5
