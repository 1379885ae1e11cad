"""What a fuzz run does with its inputs; `make fuzz` runs long, the suite for seconds."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from kiroproxy.conversation import Conversation, Failed, ReplyEvent, Stop, TextDelta, ToolInputDelta
from kiroproxy.dialects.anthropic.errors import status_and_type
from kiroproxy.dialects.anthropic.request import translate
from kiroproxy.dialects.anthropic.schema import load_messages
from kiroproxy.dialects.jsontext import parse_body
from kiroproxy.dialects.openai_chat.request import translate as translate_chat
from kiroproxy.dialects.openai_chat.schema import load_chat
from kiroproxy.dialects.openai_responses.request import own_items
from kiroproxy.dialects.openai_responses.request import translate as translate_responses
from kiroproxy.dialects.openai_responses.schema import load_responses
from kiroproxy.errors import KiroProxyError
from kiroproxy.eventstream import Decoder, build_event
from kiroproxy.kiro.events import parse_events
from kiroproxy.kiro.models import ModelSettings, choose_model
from kiroproxy.kiro.reply import Expectations, Reply
from kiroproxy.kiro.request import RequestSettings, build_request
from kiroproxy.simulator.refusals import Caller, find_refusal
from tests.fuzz.bodies import body_bytes, seeds

UNKNOWN = {"oai": "claude-sonnet-4.5", "codex": "claude-sonnet-4.5"}
"""What names mean there that are none of ours."""
UUID = "6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11"


def _of_responses(body: dict[str, Any]) -> Conversation:
    loaded = load_responses(body)
    return translate_responses(loaded, own_items(loaded)).conversation


DIALECTS: dict[str, Callable[[dict[str, Any]], Conversation]] = {
    "": lambda body: translate(load_messages(body)),
    "oai": lambda body: translate_chat(load_chat(body)).conversation,
    "codex": _of_responses,
}
"""How the captures of a dialect begin → the way up from a body of it."""


def status_of(data: bytes, dialect: str = "") -> int:
    """The status that a body would get; a 200 has passed Kiro's refusals too."""
    try:
        conversation = DIALECTS[dialect](parse_body(data))
        choice = choose_model(
            conversation.model, ModelSettings(unknown=UNKNOWN.get(dialect, "reject"))
        )
        request = build_request(
            conversation, choice, RequestSettings(), conversation_id=UUID, continuation_id=UUID
        )
    except KiroProxyError as error:
        return status_and_type(error)[0]
    refusal = find_refusal(request.body(), Caller(models=frozenset({choice.model.id})))
    assert refusal is None, f"{refusal}: {data!r}"
    return 200


def fuzz_bodies(
    seed: int, *, count: int | None = None, seconds: float = 1e9, dialect: str = ""
) -> Counter[int]:
    """Statuses of generated bodies; an exception that is not ours ends the run."""
    chance = random.Random(seed)
    known = seeds(dialect)
    statuses: Counter[int] = Counter()
    end = time.monotonic() + seconds
    while (count is None or statuses.total() < count) and time.monotonic() < end:
        statuses[status_of(body_bytes(chance, known), dialect)] += 1
    return statuses


def recorded_stream() -> bytes:
    """Text, a tool call in fragments, both trailers."""
    frames = [
        build_event("assistantResponseEvent", b'{"content":"I will write it. "}'),
        build_event("assistantResponseEvent", '{"content":"café 你好"}'.encode()),
        build_event("toolUseEvent", b'{"toolUseId":"tooluse_1","name":"write"}'),
        build_event("toolUseEvent", b'{"toolUseId":"tooluse_1","input":"{\\"path\\":\\"a\\","}'),
        build_event("toolUseEvent", b'{"toolUseId":"tooluse_1","input":"\\"text\\":\\"b\\"}"}'),
        build_event("toolUseEvent", b'{"toolUseId":"tooluse_1","stop":true}'),
        build_event("contextUsageEvent", b'{"contextUsagePercentage":3.5}'),
        build_event("meteringEvent", b'{"usage":0.01,"unit":"credit"}'),
    ]
    return b"".join(frames)


def play(data: bytes, cuts: list[int]) -> list[ReplyEvent]:
    """The events of a stream that arrives in pieces."""
    decoder, reply = Decoder(), Reply(Expectations())
    out: list[ReplyEvent] = []
    edges = [0, *sorted(cuts), len(data)]
    try:
        for begin, end in itertools.pairwise(edges):
            out += reply.feed(parse_events(decoder.feed(data[begin:end])))
        decoder.close()
    except KiroProxyError as error:
        return out + reply.fail(error)
    return out + reply.close()


def said(events: list[ReplyEvent]) -> tuple[str, str]:
    """The text and the tool input that a client got."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    json = "".join(event.json for event in events if isinstance(event, ToolInputDelta))
    return text, json


def fuzz_stream(data: bytes, *, values: int) -> int:
    """Damage each byte in `values` ways, cut at each offset; returns how many streams were played.

    None may end well with less than was sent.
    """
    whole = said(play(data, []))
    played = 0
    chance = random.Random(11)
    for offset in range(len(data)):
        for _ in range(values):
            damaged = bytearray(data)
            damaged[offset] ^= chance.randint(1, 255)
            check(
                play(bytes(damaged), [offset, chance.randrange(len(data))]), whole, complete=False
            )
            played += 1
        check(play(data[:offset], [offset // 2]), whole, complete=False)
        played += 1
    return played


def check(events: list[ReplyEvent], whole: tuple[str, str], *, complete: bool) -> None:
    """One end, and an honest one: only what was sent, and no normal end without all of it."""
    ends = [event for event in events if isinstance(event, Stop | Failed)]
    assert ends == events[-1:], events
    text, json = said(events)
    assert whole[0].startswith(text)
    assert whole[1].startswith(json)
    last = events[-1]
    if isinstance(last, Stop) and last.reason in ("end_turn", "tool_use"):
        assert (text, json) == whole
    assert not complete or isinstance(last, Stop)
