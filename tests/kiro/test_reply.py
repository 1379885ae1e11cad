"""How Kiro's events become a reply: the table of design 4, tools, thoughts, usage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Failed,
    RedactedThinkingBlock,
    Stop,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
)
from kiroproxy.errors import (
    BadPayload,
    KiroProxyError,
    Overloaded,
    TruncatedStream,
)
from kiroproxy.kiro import events as kiro
from kiroproxy.kiro.reply import Expectations, Reply
from kiroproxy.kiro.surrogates import sanitize
from tests.kiro.helpers import (
    CONTEXT,
    EVENTS,
    EXPECTATIONS,
    FILTERED,
    FULL,
    METERING,
    PIECES,
    THROTTLED,
    TOO_LONG,
    TRAILERS,
    call,
    ending,
    merged,
    run,
    text,
    thorough,
    thought,
    tool,
)

SAID = [text("Once upon")]
THOUGHT = [thought("hm")]
OPEN = call("t1", "write", '{"a": "on', stop=False)
WHOLE = call("t1", "write", '{"a": ', "1}")
BROKEN = call("t1", "write", '{"a": ')
BAD = kiro.Undecodable(BadPayload("x"))
UNKNOWN = kiro.UpstreamException("error", "boom")

# ---- how the answer ends (design 4) ----------------------------------------------------------

ENDINGS: dict[str, tuple[list[kiro.KiroEvent], str, str, str]] = {
    # upstream's ending: with nothing sent, after text or thoughts, with an open call
    "trailers": (TRAILERS, "EmptyReply", "end_turn", "max_tokens"),
    "metering alone": ([METERING], "EmptyReply", "end_turn", "max_tokens"),
    "contextUsage alone": ([CONTEXT], "EmptyReply", "end_turn", "max_tokens"),
    "metadata alone": ([kiro.Metadata()], "EmptyReply", "end_turn", "max_tokens"),
    "no trailer": ([], "EmptyReply", "max_tokens", "max_tokens"),
    "undecodable": ([BAD], "BadPayload", "BadPayload", "BadPayload"),
    "exception": ([THROTTLED], "Throttled", "Throttled", "Throttled"),
    "error frame": ([UNKNOWN], "ServerFault", "ServerFault", "ServerFault"),
    "length exception": ([TOO_LONG], "ContextTooLong", "max_tokens", "max_tokens"),
    "content filter": ([FILTERED, *TRAILERS], "refusal", "refusal", "refusal"),
    "content filter alone": ([FILTERED], "refusal", "refusal", "refusal"),
    "full": (
        [FULL, METERING],
        "ContextTooLong",
        "model_context_window_exceeded",
        "model_context_window_exceeded",
    ),
}


@pytest.mark.parametrize(
    ("events", "nothing"), [(e[0], e[1]) for e in ENDINGS.values()], ids=ENDINGS
)
def test_end_with_nothing_sent(events: list[kiro.KiroEvent], nothing: str) -> None:
    [last] = run(events)
    assert ending([last]) == nothing


@pytest.mark.parametrize(("events", "after"), [(e[0], e[2]) for e in ENDINGS.values()], ids=ENDINGS)
def test_end_after_text(events: list[kiro.KiroEvent], after: str) -> None:
    out = run([*SAID, *events])
    assert out[:-1] == [TextDelta("Once upon")]
    assert ending(out) == after


@pytest.mark.parametrize(("events", "after"), [(e[0], e[2]) for e in ENDINGS.values()], ids=ENDINGS)
def test_end_after_thoughts_and_text(events: list[kiro.KiroEvent], after: str) -> None:
    assert ending(run([*THOUGHT, *SAID, *events], thinking=True)) == after


@pytest.mark.parametrize(("events", "cut"), [(e[0], e[3]) for e in ENDINGS.values()], ids=ENDINGS)
def test_end_with_an_open_call(events: list[kiro.KiroEvent], cut: str) -> None:
    out = run([*SAID, *OPEN, *events])
    assert ending(out) == cut
    ends = [event for event in out if isinstance(event, ToolUseEnd)]
    assert ends == ([] if isinstance(out[-1], Failed) else [ToolUseEnd(complete=False)])


def test_untrailed_end_may_be_declared_complete() -> None:
    """`untrailedEnd: "complete"`."""
    assert ending(run(SAID, complete_without_trailer=True)) == "end_turn"
    assert ending(run(OPEN, complete_without_trailer=True)) == "max_tokens"


@pytest.mark.parametrize("error", [TruncatedStream(3, offset=9), Overloaded("x")])
def test_a_broken_body_is_never_a_normal_end(error: Exception) -> None:
    reply = Reply(Expectations(thinking=True))
    assert reply.feed([text("a <thin")]) == [TextDelta("a ")]
    assert reply.fail(error) == [TextDelta("<thin"), Failed(error)]
    assert reply.done
    assert reply.fail(error) == reply.close() == reply.feed([text("x")]) == []


def test_a_broken_call_is_left_open() -> None:
    reply = Reply(Expectations())
    reply.feed(OPEN)
    [failed] = reply.fail(TruncatedStream(1, offset=-1))
    assert isinstance(failed, Failed)


def test_full_context_with_nothing_sent_is_too_long() -> None:
    """The message on which Claude Code compacts: N always above M."""
    [failed] = run([FULL], input_tokens=150_000, context_window=200_000)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "prompt is too long: 200001 tokens > 200000 maximum"
    [failed] = run([TOO_LONG], input_tokens=1_200_000, context_window=1_000_000)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "prompt is too long: 1200000 tokens > 1000000 maximum"


ORDER: list[tuple[list[kiro.KiroEvent], str]] = [
    # error > max_tokens/context > stop_sequence > tool_use > end_turn
    ([*SAID, *WHOLE, *TRAILERS], "tool_use"),
    ([*WHOLE], "max_tokens"),
    ([*WHOLE, FULL], "model_context_window_exceeded"),
    ([*WHOLE, TOO_LONG], "max_tokens"),
    ([*WHOLE, THROTTLED], "Throttled"),
    ([*WHOLE, text("no STOP"), *TRAILERS], "stop_sequence"),
    ([FULL, text("no STOP")], "model_context_window_exceeded"),
    ([*BROKEN, text("no STOP")], "max_tokens"),
    ([FULL, *SAID, TOO_LONG], "max_tokens"),
    ([*SAID, FILTERED, FULL], "model_context_window_exceeded"),
    ([*WHOLE, *call("t2", "write", "{"), *TRAILERS], "max_tokens"),
]


@pytest.mark.parametrize(("events", "reason"), ORDER)
def test_order_of_stop_reasons(events: list[kiro.KiroEvent], reason: str) -> None:
    assert ending(run(events, stop_sequences=["STOP"])) == reason


@pytest.mark.parametrize(
    ("events", "truncated"),
    [
        ([*SAID, *TRAILERS], False),
        ([*SAID, TOO_LONG], False),
        ([*SAID, FULL], False),
        ([*SAID, THROTTLED], False),
        (SAID, True),
        ([*BROKEN, *TRAILERS], True),
    ],
)
def test_a_reply_knows_whether_its_end_is_missing(
    events: list[kiro.KiroEvent], truncated: bool
) -> None:
    """Not where upstream says itself that it became too long."""
    reply = Reply(Expectations())
    reply.feed(events)
    reply.close()
    assert reply.truncated == truncated


def test_trap_6_exception_after_the_trailers_is_still_an_error() -> None:
    assert ending(run([*SAID, *TRAILERS, THROTTLED])) == "Throttled"


def test_held_back_text_counts_when_the_answer_grew_too_long() -> None:
    out = run([text("<think"), TOO_LONG], thinking=True)
    assert merged(out) == [(TextDelta, "<think"), (Stop, "max_tokens", None)]


def test_settling_times() -> None:
    """Protocol notes 4.2, trap 5: upstream may leave the connection open after the metering."""
    reply = Reply(Expectations())
    reply.feed(SAID)
    assert reply.settle_s is None
    reply.feed([CONTEXT])
    assert reply.settle_s is None
    reply.feed([METERING])
    assert reply.settle_s == 0.25
    alone = Reply(Expectations())
    alone.feed([METERING])
    assert alone.settle_s == 5.0
    assert not alone.done, "metering is no end of its own: stragglers may come"
    assert alone.feed([text("late")]) == [TextDelta("late")]


def test_an_answer_that_goes_on_behind_its_trailers_is_waited_for() -> None:
    """A short pause in it would else be taken for its end."""
    reply = Reply(Expectations())
    reply.feed([CONTEXT, METERING, text("Once ")])
    assert reply.settle_s == 5.0
    reply.feed([tool("t1", "write")])
    assert reply.settle_s is None, "a call is open: only silence ends it"
    reply.feed([tool("t1", piece="{}"), tool("t1", stop=True)])
    assert reply.settle_s == 5.0
    reply.feed([METERING])
    assert reply.settle_s == 0.25
    reply.feed([text("")])
    assert reply.settle_s == 0.25, "nothing is no more of it"


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        ("CONTENT_FILTERED", "refusal"),
        ("guardrail_intervened", "refusal"),
        ("MAX_TOKENS", "max_tokens"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("END_TURN", "end_turn"),
        ("tool_use", "end_turn"),
    ],
)
def test_upstreams_own_stop_reason(reason: str, ends: str) -> None:
    for field in ("stopReason", "stop_reason"):
        told = kiro.Metadata(**{field: reason})
        assert ending(run([text("a"), told, *TRAILERS])) == ends


# ---- text ------------------------------------------------------------------------------------


def test_trap_8_equal_frames_are_real_text() -> None:
    out = run([text("66"), text("66"), text("66"), *TRAILERS])
    assert [event for event in out if isinstance(event, TextDelta)] == [TextDelta("66")] * 3


def test_s41_character_cut_into_two_frames() -> None:
    events = [text("a\ud83e"), CONTEXT, kiro.Unknown("codeEvent"), text("\uddeab"), METERING]
    assert merged(run(events))[0] == (TextDelta, "a🧪b")


def test_trap_30_lone_half() -> None:
    assert merged(run([text("a\ud83e"), *TRAILERS]))[0] == (TextDelta, "a\ufffd")
    assert merged(run([text("a\ud83e"), *WHOLE, *TRAILERS]))[0] == (TextDelta, "a\ufffd")


def test_stop_sequence_ends_the_reply() -> None:
    reply = Reply(Expectations(stop_sequences=["\n\nHuman:"]))
    assert reply.feed([text("Hi\n"), text("\nHum")]) == [TextDelta("Hi")]
    [stop] = reply.feed([text("an: no"), text("more")])
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.stop_sequence) == ("stop_sequence", "\n\nHuman:")
    assert reply.done


def test_stop_sequence_in_front_of_thoughts_stops_once() -> None:
    whole = "a STOP <thinking>x</thinking>\n\nb"
    out = run([text(whole), *TRAILERS], thinking=True, stop_sequences=["STOP"])
    assert merged(out) == [(TextDelta, "a "), (Stop, "stop_sequence", "STOP")]


# ---- thoughts --------------------------------------------------------------------------------


def test_s47_tags_become_thoughts() -> None:
    out = run([text("<thinking>\nhm</thinking>\n\n"), text("Yes"), *TRAILERS], thinking=True)
    assert out[:-1] == [ThinkingDelta("hm"), ThinkingEnd(), TextDelta("Yes")]
    assert ending(out) == "end_turn"


def test_s52_without_thinking_tags_are_text() -> None:
    out = run([text("<thinking>hm</thinking>\n\nYes"), *TRAILERS])
    assert merged(out)[0] == (TextDelta, "<thinking>hm</thinking>\n\nYes")


@pytest.mark.parametrize("thoughts", [[thought("hm")], [text("<thinking>hm</thinking>\n\n")]])
def test_s50_thoughts_alone(thoughts: list[kiro.KiroEvent]) -> None:
    out = run([*thoughts, *TRAILERS], thinking=True)
    assert out[:-1] == [ThinkingDelta("hm"), ThinkingEnd(), TextDelta(" ")]
    assert ending(out) == "max_tokens"


def test_thoughts_alone_in_a_full_window() -> None:
    assert ending(run([*THOUGHT, FULL], thinking=True)) == "model_context_window_exceeded"


def test_native_thoughts_with_signature() -> None:
    events = [thought("h"), thought("m"), thought(signature="c2ln"), *SAID, *TRAILERS]
    assert merged(run(events, thinking=True))[:3] == [
        (ThinkingDelta, "hm"),
        ThinkingEnd("c2ln"),
        (TextDelta, "Once upon"),
    ]


def test_each_block_keeps_its_own_signature() -> None:
    events = [thought("a", signature="s1"), thought("b", signature="s2"), *SAID, *TRAILERS]
    assert run(events, thinking=True)[:4] == [
        ThinkingDelta("a"),
        ThinkingEnd("s1"),
        ThinkingDelta("b"),
        ThinkingEnd("s2"),
    ]


def test_signature_without_thoughts_is_a_block_of_its_own() -> None:
    events = [thought(signature="s"), *SAID, *TRAILERS]
    assert run(events, thinking=True)[:2] == [ThinkingDelta(""), ThinkingEnd("s")]


def test_late_signature_is_no_new_block() -> None:
    events = [thought("a"), *SAID, thought(signature="s"), text("!"), *TRAILERS]
    assert run(events, thinking=True)[:-1] == [
        ThinkingDelta("a"),
        ThinkingEnd(),
        TextDelta("Once upon"),
        TextDelta("!"),
    ]


def test_redacted_thoughts() -> None:
    events = [thought("a"), thought(redacted_content="cmVk"), *SAID, *TRAILERS]
    assert run(events, thinking=True)[:3] == [
        ThinkingDelta("a"),
        ThinkingEnd(),
        RedactedThinkingBlock("cmVk"),
    ]


def test_no_doubling_native_first() -> None:
    """Protocol notes 4.4: native reasoning and tags may both come; one of them is kept."""
    events = [thought("a"), text("<thinking>a</thinking>\n\nYes"), *TRAILERS]
    assert run(events, thinking=True)[:-1] == [ThinkingDelta("a"), ThinkingEnd(), TextDelta("Yes")]


def test_no_doubling_tags_first() -> None:
    events = [text("<thinking>a"), thought("a"), text("</thinking>\n\nYes"), *TRAILERS]
    out = merged(run(events, thinking=True))
    assert out[:-1] == [(ThinkingDelta, "a"), ThinkingEnd(), (TextDelta, "Yes")]


def test_an_empty_reasoning_event_does_not_silence_the_tags() -> None:
    events = [thought(), text("<thinking>a</thinking>\n\nYes"), *TRAILERS]
    assert merged(run(events, thinking=True))[0] == (ThinkingDelta, "a")


def test_text_held_back_stays_in_front_of_a_thought() -> None:
    events = [text("a <"), thought("hm"), text("b"), *TRAILERS]
    assert merged(run(events, thinking=True))[:-1] == [
        (TextDelta, "a <"),
        (ThinkingDelta, "hm"),
        ThinkingEnd(),
        (TextDelta, "b"),
    ]


def test_thoughts_nobody_asked_for_are_not_shown() -> None:
    out = run([*THOUGHT, *SAID, *TRAILERS])
    assert merged(out) == [(TextDelta, "Once upon"), (Stop, "end_turn", None)]


# ---- tools -----------------------------------------------------------------------------------


def test_s54_call_streams_as_it_comes() -> None:
    reply = Reply(Expectations())
    assert reply.feed([tool("t1", "write")]) == [ToolUseStart("t1", "write")]
    assert reply.feed([tool("t1", "write", '{"a": "\\')]) == [ToolInputDelta('{"a": "\\')]
    assert reply.feed([tool("t1", piece='n"}')]) == [ToolInputDelta('n"}')]
    assert reply.feed([tool("t1", stop=True)]) == [ToolUseEnd(complete=True)]
    reply.feed(TRAILERS)
    assert ending(reply.close()) == "tool_use"


def test_trap_13_text_after_a_call_follows_it() -> None:
    out = merged(run([*SAID, *WHOLE, text("Done"), *TRAILERS]))
    assert [event if isinstance(event, tuple) else type(event) for event in out] == [
        (TextDelta, "Once upon"),
        ToolUseStart,
        (ToolInputDelta, '{"a": 1}'),
        ToolUseEnd,
        (TextDelta, "Done"),
        (Stop, "tool_use", None),
    ]


def test_text_inside_a_call_follows_it() -> None:
    events = [*OPEN, text("meanwhile"), tool("t1", piece='ce"}', stop=True), *TRAILERS]
    out = merged(run(events))
    assert out[1:4] == [
        (ToolInputDelta, '{"a": "once"}'),
        ToolUseEnd(complete=True),
        (TextDelta, "meanwhile"),
    ]


def test_text_inside_a_cut_call_is_passed_on_whole() -> None:
    """Even what the tag parser would hold back of it."""
    out = merged(run([*OPEN, text("tail <"), *TRAILERS], thinking=True))
    assert out[-2:] == [(TextDelta, "tail <"), (Stop, "max_tokens", None)]


def test_interleaved_calls_become_one_after_the_other() -> None:
    events = [
        tool("t1", "read"),
        tool("t2", "write"),
        tool("t2", piece='{"b":2}'),
        tool("t1", piece='{"a":1}'),
        tool("t2", stop=True),
        tool("t1", stop=True),
        *TRAILERS,
    ]
    assert run(events)[:-1] == [
        ToolUseStart("t1", "read"),
        ToolInputDelta('{"a":1}'),
        ToolUseEnd(complete=True),
        ToolUseStart("t2", "write"),
        ToolInputDelta('{"b":2}'),
        ToolUseEnd(complete=True),
    ]


def test_s170_cut_input_is_never_completed() -> None:
    """Trap 1: `{}` in place of cut input makes the client repeat the call for ever."""
    for events in (OPEN, BROKEN, call("t1", "write", stop=False)):
        out = run([*events, *TRAILERS])
        assert not any(isinstance(event, ToolInputDelta) and "{}" in event.json for event in out)
        assert ToolUseEnd(complete=False) in out
        assert ending(out) == "max_tokens"


def test_stop_without_input_is_an_empty_object() -> None:
    out = run([*call("t1", "now"), *TRAILERS], needs_input=frozenset({"write"}))
    assert out[:-1] == [ToolUseStart("t1", "now"), ToolInputDelta("{}"), ToolUseEnd(complete=True)]
    assert ending(out) == "tool_use"


def test_stop_without_input_that_is_required_was_cut() -> None:
    out = run([*call("t1", "write"), *TRAILERS], needs_input=frozenset({"write"}))
    assert out[:-1] == [ToolUseStart("t1", "write"), ToolUseEnd(complete=False)]


@pytest.mark.parametrize("piece", ["[1]", '"x"', "1", "null", "{} {}", '{"a": NaN}'])
def test_input_that_is_no_object_was_cut(piece: str) -> None:
    assert ToolUseEnd(complete=False) in run([*call("t1", "write", piece), *TRAILERS])


def test_input_as_an_object() -> None:
    """Protocol notes 4.3: some frames hold a whole object, or an empty one first."""
    events = [tool("t1", "w", {}), tool("t1", piece={"a": 2**70}), tool("t1", stop=True), *TRAILERS]
    assert merged(run(events))[1] == (ToolInputDelta, '{"a":1180591620717411303424}')


def test_input_object_with_half_a_character() -> None:
    events = [tool("t1", "w", {"a": "\ud83e"}, stop=True), *TRAILERS]
    assert merged(run(events))[1] == (ToolInputDelta, '{"a": "\ufffd"}')


def test_input_with_a_character_cut_in_two() -> None:
    events = [*call("t1", "w", '{"a":"\ud83e', '\uddea"}'), *TRAILERS]
    assert merged(run(events))[1] == (ToolInputDelta, '{"a":"🧪"}')


def test_fragments_without_an_id_belong_to_the_last_call() -> None:
    events = [tool("t1", "w"), tool("", piece="{}"), tool("", stop=True), tool("", stop=True)]
    assert run([*events, *TRAILERS])[:-1] == [
        ToolUseStart("t1", "w"),
        ToolInputDelta("{}"),
        ToolUseEnd(complete=True),
    ]


def test_calls_without_ids_are_not_lost() -> None:
    out = run([*call("", "a", "{}"), *call("", "b", "{}"), *TRAILERS])
    starts = [event for event in out if isinstance(event, ToolUseStart)]
    assert [start.name for start in starts] == ["a", "b"]
    assert len({start.id for start in starts}) == 2


def test_repeated_stop_says_nothing() -> None:
    assert run([*WHOLE, tool("t1", stop=True), *TRAILERS])[:-1] == run([*WHOLE, *TRAILERS])[:-1]


def test_an_id_that_upstream_uses_again_is_another_call() -> None:
    again = [tool("t1", piece='{"a":'), tool("t1", piece="1}"), tool("t1", stop=True)]
    out = run([*WHOLE, tool("t1", "write"), *again, *again, *TRAILERS], client_names={"write": "W"})
    starts = [event for event in out if isinstance(event, ToolUseStart)]
    assert [start.name for start in starts] == ["W"] * 3
    assert len({start.id for start in starts}) == 3
    assert ending(out) == "tool_use"
    assert [merged(out)[i] for i in (4, 7)] == [(ToolInputDelta, '{"a":1}')] * 2


def test_s61_trap_9_names_are_mapped_back() -> None:
    out = run([*WHOLE, *TRAILERS], client_names={"write": "Write a file"})
    assert out[0] == ToolUseStart("t1", "Write a file")


def test_one_call_at_a_time() -> None:
    """`disable_parallel_tool_use` (protocol notes 3.8): the first call is passed on, text too."""
    events = [*WHOLE, *call("t2", "write", "{}"), text("Done"), *TRAILERS]
    out = run(events, parallel_tools=False)
    assert [event.id for event in out if isinstance(event, ToolUseStart)] == ["t1"]
    assert merged(out)[-2:] == [(TextDelta, "Done"), (Stop, "tool_use", None)]


# ---- usage -----------------------------------------------------------------------------------

TOKENS = kiro.TokenUsage(
    uncached_input_tokens=11, output_tokens=5, cache_read_input_tokens=7, cache_write_input_tokens=0
)
USAGE: list[tuple[list[kiro.KiroEvent], Usage]] = [
    (
        [kiro.Metadata(tokenUsage=TOKENS), CONTEXT, METERING],
        Usage(11, 5, "upstream", cache_read_tokens=7, cache_write_tokens=0, credits=0.01),
    ),
    ([CONTEXT], Usage(7000, 2, "context")),
    ([kiro.ContextUsage(context_usage_percentage=0)], Usage(99, 2)),
    ([kiro.ContextUsage(context_usage_percentage=-3)], Usage(99, 2)),
    ([METERING, METERING], Usage(99, 2, credits=0.02)),
    ([kiro.Metadata(tokenUsage=kiro.TokenUsage(output_tokens=5))], Usage(99, 2)),
    ([kiro.Metadata(tokenUsage=kiro.TokenUsage(uncached_input_tokens=4))], Usage(4, 2, "upstream")),
]


@pytest.mark.parametrize(("trailers", "usage"), USAGE)
def test_usage(trailers: list[kiro.KiroEvent], usage: Usage) -> None:
    """S16: upstream's counts, else the percentage of the window, else our estimate."""
    stop = run([text("abcdefg"), *trailers], input_tokens=99, context_window=200_000)[-1]
    assert isinstance(stop, Stop)
    assert stop.usage == usage


# ---- any sequence ----------------------------------------------------------------------------


@thorough
@given(EVENTS, EXPECTATIONS)
def test_grammar(events: list[kiro.KiroEvent], expectations: dict[str, Any]) -> None:
    """One end, at the end; calls contain input alone; thoughts end before anything else begins."""
    out = run(events, **expectations)
    assert isinstance(out[-1], Stop | Failed)
    assert not any(isinstance(event, Stop | Failed) for event in out[:-1])
    inside: type | None = None
    for event in out:
        if inside is ToolUseStart:
            assert isinstance(event, ToolInputDelta | ToolUseEnd | Failed)
        elif inside is ThinkingDelta:
            assert isinstance(event, ThinkingDelta | ThinkingEnd | Failed)
        else:
            assert not isinstance(event, ToolInputDelta | ToolUseEnd | ThinkingEnd)
        inside = None if isinstance(event, ToolUseEnd | ThinkingEnd) else type(event)
        inside = ToolUseStart if inside is ToolInputDelta else inside
    if isinstance(out[-1], Failed):
        assert isinstance(out[-1].error, KiroProxyError)
    if any(event == ToolUseEnd(complete=False) for event in out):
        assert ending(out) not in ("end_turn", "tool_use", "stop_sequence")


@thorough
@given(EVENTS, EXPECTATIONS, st.data())
def test_any_batches_give_the_same_reply(
    events: list[kiro.KiroEvent], expectations: dict[str, Any], data: st.DataObject
) -> None:
    whole = run(events, **expectations)
    reply = Reply(Expectations(**expectations))
    out = []
    while events:
        size = data.draw(st.integers(1, len(events)))
        out += reply.feed(events[:size])
        events = events[size:]
    out += reply.close()
    assert [*out[:-1], ending(out)] == [*whole[:-1], ending(whole)]


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_chunking_of_text_gives_the_same_reply(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    letters = [
        piece
        for event in events
        for piece in (
            map(text, event.content or "") if isinstance(event, kiro.AssistantResponse) else [event]
        )
    ]
    assert merged(run(letters, **expectations)) == merged(run(events, **expectations))


@thorough
@given(st.lists(PIECES))
def test_text_is_passed_on_as_it_is(pieces: list[str]) -> None:
    out = run([*map(text, pieces), *TRAILERS])
    said = "".join(event.text for event in out if isinstance(event, TextDelta))
    assert said == sanitize("".join(pieces))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@thorough
@given(st.dictionaries(st.text(), JSON, max_size=4), st.booleans(), st.data())
def test_tool_input_is_what_upstream_sent(
    value: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    encoded = json.dumps(value, ensure_ascii=ascii_only)
    at = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=4)))
    pieces = [encoded[a:b] for a, b in zip([0, *at], [*at, len(encoded)], strict=True)]
    out = run([*call("t1", "w", *pieces), *TRAILERS])
    sent = "".join(event.json for event in out if isinstance(event, ToolInputDelta))
    assert sent == encoded
    assert ToolUseEnd(complete=True) in out
