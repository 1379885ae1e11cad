"""The wire form of events (S32)."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.dialects.sse import PING, named_event


def test_s32_form() -> None:
    event = named_event("message_stop", {"type": "message_stop"})
    assert event == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def test_s17_ping() -> None:
    assert PING == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_big_integers() -> None:
    assert b"1180591620717411303424" in named_event("x", {"n": 2**70})


@given(st.text())
def test_data_is_one_line(text: str) -> None:
    """Line breaks of a text, of whatever kind, never break the event."""
    lines = named_event("x", {"t": text}).split(b"\n")
    assert len(lines) == 4
    assert json.loads(lines[1].removeprefix(b"data: ")) == {"t": text}
