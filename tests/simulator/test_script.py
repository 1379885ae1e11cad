"""Scripts to bytes, without a network."""

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.eventstream import Decoder
from kiroproxy.http_body import ChunkedBody
from kiroproxy.simulator.script import (
    End,
    Modifier,
    Op,
    Pass,
    Pause,
    Program,
    ScriptError,
    Write,
    announced_length,
    apply_modifiers,
    compile_script,
    corrupt,
    cut_text,
    dump_payload,
    event,
    recut,
    until_end,
)


def compiled(*steps: dict[str, Any], **more: Any) -> Program:
    ids = iter(f"tooluse_{i}" for i in range(1000))
    return compile_script({"steps": list(steps), **more}, lambda: next(ids))


def payloads(program: Program) -> list[dict[str, Any]]:
    return [json.loads(frame.payload) for frame in Decoder().feed(program.body)]


def wire(program: Program) -> bytes:
    return b"".join(op.data for op in program.ops if isinstance(op, Write))


@pytest.mark.parametrize(
    ("step", "kind", "payload"),
    [
        ({"text": "é"}, "assistantResponseEvent", {"content": "é", "modelId": "claude-sonnet-4.5"}),
        ({"reasoning": "r"}, "reasoningContentEvent", {"text": "r"}),
        (
            {"reasoning": "r", "signature": "s"},
            "reasoningContentEvent",
            {"text": "r", "signature": "s"},
        ),
        ({"redacted": "eA=="}, "reasoningContentEvent", {"redactedContent": "eA=="}),
        ({"event": "x", "payload": {"a": 1}}, "x", {"a": 1}),
        ({"event": "x", "payload": '{"a": 1}'}, "x", {"a": 1}),
        ({"context": 3.5}, "contextUsageEvent", {"contextUsagePercentage": 3.5}),
        (
            {"metering": 0.5},
            "meteringEvent",
            {"unit": "credit", "unitPlural": "credits", "usage": 0.5},
        ),
        ({"metadata": {"stopReason": "X"}}, "metadataEvent", {"stopReason": "X"}),
    ],
)
def test_event_steps_become_one_frame(
    step: dict[str, Any], kind: str, payload: dict[str, Any]
) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(compiled(step).body)
    (message,) = list(buffer)
    assert message.headers == {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    assert json.loads(message.payload) == payload


def test_exception_and_error_frames_have_their_headers() -> None:
    buffer = EventStreamBuffer()
    program = compiled(
        {"exception": "ThrottlingException", "payload": {"message": "m"}},
        {"error": "Oops", "message": "text"},
        {"frame": {":event-type": "bare"}, "payload": "x"},
    )
    buffer.add_data(program.body)
    exception, error, bare = list(buffer)
    assert exception.headers[":message-type"] == "exception"
    assert exception.headers[":exception-type"] == "ThrottlingException"
    assert error.headers[":message-type"] == "error"
    assert error.headers[":error-code"] == "Oops"
    assert error.headers[":error-message"] == "text"
    assert bare.headers == {":event-type": "bare"}
    assert bare.payload == b"x"


def test_a_tool_call_opens_streams_its_input_and_stops() -> None:
    program = compiled({"tool": {"name": "stat", "input": {"path": "ä"}, "fragments": 4}})
    frames = payloads(program)
    assert frames[0] == {"name": "stat", "toolUseId": "tooluse_0"}
    assert json.loads("".join(frame["input"] for frame in frames[1:-1])) == {"path": "ä"}
    assert len(frames) == 6
    assert frames[-1] == {"name": "stat", "toolUseId": "tooluse_0", "stop": True}


def test_a_tool_call_may_never_stop() -> None:
    frames = payloads(compiled({"tool": {"id": "i", "name": "n", "input": "{", "stop": False}}))
    assert [frame.get("stop") for frame in frames] == [None, None]


def test_interleaved_calls_keep_their_names() -> None:
    program = compiled(
        {"tool_start": {"id": "a", "name": "one"}},
        {"tool_start": {"id": "b", "name": "two"}},
        {"tool_input": {"id": "a", "input": "{}"}},
        {"tool_stop": {"id": "b"}},
    )
    assert [(f["toolUseId"], f["name"]) for f in payloads(program)] == [
        ("a", "one"),
        ("b", "two"),
        ("a", "one"),
        ("b", "two"),
    ]


def test_fresh_ids_make_a_program_that_is_used_once() -> None:
    tool = {"tool": {"name": "n"}}
    assert not compiled(tool).reusable
    assert compiled({"tool": {"name": "n", "id": "i"}}).reusable
    repeated = compiled({"repeat": 3, "steps": [tool]})
    assert not repeated.reusable
    ids = {frame["toolUseId"] for frame in payloads(repeated)}
    assert ids == {"tooluse_0", "tooluse_1", "tooluse_2"}


def test_repeat_repeats_and_counts_credits() -> None:
    program = compiled({"repeat": 4, "steps": [{"text": "a"}, {"metering": 0.5}]})
    assert len(payloads(program)) == 8
    assert program.credits == 2.0


def test_lone_surrogates_are_escapes_on_the_wire() -> None:
    program = compiled({"text": "\ud83e"}, {"text": "\uddea"})
    assert b"\\ud83e" in program.body
    assert b"\\uddea" in program.body


def test_a_text_payload_is_sent_as_it_stands() -> None:
    assert dump_payload('{"content":') == b'{"content":'
    with pytest.raises(UnicodeDecodeError):
        dump_payload('"\udcff"').decode()


@pytest.mark.parametrize("part", ["prelude", "payload", "crc"])
def test_corrupt_flips_one_byte_that_a_checksum_covers(part: str) -> None:
    frame = event("x", {"a": 1}).data
    damaged = corrupt(frame, part)
    assert len(damaged) == len(frame)
    assert sum(a != b for a, b in zip(frame, damaged, strict=True)) == 1
    buffer = EventStreamBuffer()
    buffer.add_data(damaged)
    with pytest.raises(Exception, match="Checksum mismatch"):
        list(buffer)


def test_corrupt_and_cut_touch_the_next_frame_only() -> None:
    first, second = event("x", 1), event("x", 2)
    ops, _ = apply_modifiers([first, Modifier("corrupt", "crc"), second, first])
    assert ops == [first, Write(corrupt(second.data, "crc")), first]
    ops, _ = apply_modifiers([first, Modifier("cut", 5), second, first])
    assert ops == [first, Write(second.data[:5]), End("finish")]


def test_a_cut_chunk_promises_more_than_it_holds() -> None:
    program = compiled({"text": "a"}, {"cut_chunk": 7}, {"text": "b"})
    body = ChunkedBody()
    got = body.feed(wire(program))
    whole = len(
        event("assistantResponseEvent", {"content": "a", "modelId": "claude-sonnet-4.5"}).data
    )
    assert len(got) == whole + 7
    assert not body.complete
    assert program.ops[-1] == End("close")


def test_gates_and_delays_stand_before_each_following_frame() -> None:
    ops = compiled({"text": "a"}, {"each_gated": "g"}, {"text": "b"}, {"text": "c"}).ops
    kinds = [type(op) for op in ops]
    assert kinds == [Write, Pass, Write, Pass, Write, End]
    ops = compiled({"each_delayed": 0.5}, {"text": "b"}).ops
    assert ops[0] == Pause(0.5)


def test_frames_between_waits_are_one_write() -> None:
    ops = compiled({"text": "a"}, {"text": "b"}, {"delay": 1}, {"text": "c"}).ops
    assert [type(op) for op in ops] == [Write, Pause, Write, End]


def test_nothing_behind_an_end_is_played() -> None:
    assert until_end([End("close"), Write(b"x")]) == [End("close")]
    assert until_end([Write(b"x")]) == [Write(b"x"), End("finish")]


def test_content_length_is_right_or_promises_more_when_cut() -> None:
    program = compiled({"text": "a"}, framing="length")
    assert program.length == len(program.body) == len(wire(program))
    cut = compiled({"text": "a"}, {"close": True}, framing="length")
    assert cut.length is not None
    assert cut.length > len(wire(cut))
    assert announced_length([Write(b"abc"), End("close"), Write(b"d" * 50)]) == 53


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(1, 9), min_size=1))
def test_any_chunk_sizes_carry_the_same_bytes(parts: list[bytes], sizes: list[int]) -> None:
    ops: list[Op] = [Write(part) for part in parts]
    cut = [op for op in recut(ops, sizes) if isinstance(op, Write)]
    assert b"".join(op.data for op in cut) == b"".join(parts)
    assert all(len(op.data) <= max(sizes) for op in cut)


def test_chunk_sizes_are_seen_on_the_wire() -> None:
    program = compiled({"text": "a"}, chunks=[1, 7, 3])
    raw = wire(program)
    assert raw.startswith(b"1\r\n\x00\r\n7\r\n")
    body = ChunkedBody()
    assert body.feed(raw) == program.body
    assert body.complete


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_every_framing_carries_the_body(framing: str) -> None:
    program = compiled({"text": "a"}, {"text": "b"}, framing=framing)
    raw = wire(program)
    assert (ChunkedBody().feed(raw) if framing == "chunked" else raw) == program.body


def test_a_body_is_answered_whole_with_its_length() -> None:
    program = compile_script({"status": 429, "body": {"message": "m"}}, str)
    assert program.length == len(b'{"message":"m"}')
    assert program.headers["content-type"] == "application/json"
    assert compile_script({"body": "<p>"}, str).headers["content-type"] == "text/html"


@given(st.text(max_size=60), st.integers(-1, 70))
def test_cut_text_loses_nothing(text: str, count: int) -> None:
    parts = cut_text(text, count)
    assert "".join(parts) == text
    assert len(parts) <= max(count, 1)
    assert all(parts)


@pytest.mark.parametrize(
    "script",
    [
        [],
        {"steps": [{"unknown": 1}]},
        {"steps": [{"raw_hex": "zz"}]},
        {"steps": [{"tool": {}}]},
        {"steps": [{"delay": "x"}]},
        {"steps": [{"corrupt": "foot"}, {"text": "a"}]},
        {"framing": "carrier pigeon"},
        {"chunks": [0], "steps": [{"text": "a"}]},
        {"before": [{"text": "too early"}]},
    ],
)
def test_what_cannot_be_understood_is_a_script_error(script: Any) -> None:
    with pytest.raises(ScriptError):
        compile_script(script, str)


def test_the_last_frame_is_known_behind_waits() -> None:
    program = compiled({"text": "a"}, {"delay": 1}, {"text": "b"}, {"stay_open": True})
    assert program.ops[program.last_frame] == Write(program.ops[2].data)  # type: ignore[union-attr]
    assert compiled().last_frame == -1
