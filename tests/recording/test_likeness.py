"""Two answers say the same although ids and cuts differ."""

import json
from typing import Any

from kiroproxy.recording.likeness import body_differences, differences, normal_lines


def sse(*events: dict[str, Any]) -> str:
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)


def delta(text: str) -> dict[str, Any]:
    one = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": one}


def start(id_: str) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": id_, "usage": {"input_tokens": len(id_)}}}


STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}


def test_ids_pings_and_cuts_do_not_count() -> None:
    one = sse(start("a"), {"type": "ping"}, delta("hel"), delta("lo"), STOP)
    two = sse(start("bbb"), delta("h"), {"type": "ping"}, delta("ello"), STOP)
    assert differences(one, two) == []
    assert '  "hello"' in normal_lines(one)


def test_a_difference_is_shown() -> None:
    one = sse(start("a"), delta("hello"), STOP)
    two = sse(start("a"), delta("hello!"), STOP)
    told = differences(one, two)
    assert '-  "hello"' in told
    assert '+  "hello!"' in told
    assert differences(one, sse(start("a"), delta("hello"))), "an end is missing"


def test_blocks_are_kept_apart() -> None:
    one = [delta("a"), delta("b")]
    two = [delta("ab"), {**delta(""), "index": 1}]
    assert differences(sse(*one), sse(*two))


def test_openais_chunks() -> None:
    def chunk(content: str, id_: str) -> str:
        value = {"id": id_, "created": 7, "choices": [{"index": 0, "delta": {"content": content}}]}
        return f"data: {json.dumps(value)}\n\n"

    one = chunk("hel", "x") + chunk("lo", "x") + "data: [DONE]\n\n"
    assert differences(one, chunk("hello", "y") + "data: [DONE]\n\n") == []
    assert differences(one, chunk("hello", "y"))


def test_a_body_of_json_or_of_anything() -> None:
    assert differences('{"id": 1, "a": [1, 2]}', '{"a": [1, 2], "id": 2}') == []
    assert differences('{"a": 1}', '{"a": 2}')
    assert differences("no JSON", "no JSON") == []
    assert differences("", "") == []
    assert normal_lines("[" * 3000) == [json.dumps("[" * 3000)]


def test_bodies_for_kiro() -> None:
    one = {"conversationState": {"conversationId": "a", "history": [1]}, "profileArn": "x"}
    two = {"conversationState": {"conversationId": "b", "history": [1]}}
    assert body_differences(one, two) == []
    two["conversationState"]["history"] = [2]
    assert "+   2" in body_differences(one, two)
