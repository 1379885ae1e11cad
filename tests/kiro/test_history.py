"""Repair, never rejection (protocol notes 3.4, traps 2, 4, 17; S60)."""

from typing import Any

import pytest

from kiroproxy.conversation import (
    Block,
    Image,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from kiroproxy.kiro.history import (
    CONTINUE,
    FIRST_USER,
    NO_OUTPUT,
    NOT_EXECUTED,
    SEE_IMAGE,
    AssistantTurn,
    Result,
    UserTurn,
    build_turns,
    kiro_result,
    used_tool_names,
)


def user(*blocks: Block | str) -> Message:
    return Message("user", [Text(b) if isinstance(b, str) else b for b in blocks])


def assistant(*blocks: Block | str) -> Message:
    return Message("assistant", [Text(b) if isinstance(b, str) else b for b in blocks])


def system(text: str) -> Message:
    return Message("system", [Text(text)])


def use(id_: str = "t1", name: str = "stat", **fields: Any) -> ToolUse:
    return ToolUse(id_, name, fields)


def result(id_: str = "t1", text: str = "12 bytes", *, is_error: bool = False) -> ToolResult:
    return ToolResult(id_, [Text(text)], is_error)


def contents(*messages: Message) -> list[str]:
    return [turn.content for turn in build_turns(messages)]


CONTENTS: dict[str, tuple[list[Message], list[str]]] = {
    "one": ([user("a")], ["a"]),
    "alternating": ([user("a"), assistant("b"), user("c")], ["a", "b", "c"]),
    "same roles merge": (
        [user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
        ["a\nb", "c\n\nd", "e"],
    ),
    "nothing at all": ([user()], [" "]),
    "white space alone": ([user(" \n")], [" "]),
    "blank turns do not break up their neighbours": (
        [user("a"), assistant(""), user("b"), assistant(), user("c")],
        ["a\nb\nc"],
    ),
    "assistant first": ([assistant("a"), user("b")], [FIRST_USER, "a", "b"]),
    "trap 17: prefill is kept as intent": ([user("a"), assistant("{")], ["a", "{", CONTINUE]),
    "system in place": (
        [user("a"), system("obey"), assistant("b"), user("c"), system("again")],
        [
            "a\n<system-reminder>\nobey\n</system-reminder>",
            "b",
            "c\n<system-reminder>\nagain\n</system-reminder>",
        ],
    ),
    "system first": (
        [system("obey"), user("a")],
        ["<system-reminder>\nobey\n</system-reminder>\na"],
    ),
    "s51 thoughts": (
        [user("a"), assistant(Thinking("hm", "sig"), "b"), user("c")],
        ["a", "<thinking>hm</thinking>\n\nb", "c"],
    ),
    "redacted thoughts alone": (
        [user("a"), assistant(RedactedThinking("x")), user("c")],
        ["a", " ", "c"],
    ),
    "empty thoughts": ([user("a"), assistant(Thinking(""), "b"), user("c")], ["a", "b", "c"]),
    "calls alone": ([user("a"), assistant(use()), user(result())], ["a", " ", " "]),
}


@pytest.mark.parametrize(("messages", "expected"), CONTENTS.values(), ids=CONTENTS)
def test_contents(messages: list[Message], expected: list[str]) -> None:
    assert contents(*messages) == expected


def results_of(*messages: Message) -> list[list[Result]]:
    return [turn.results for turn in build_turns(messages) if isinstance(turn, UserTurn)]


def test_pair() -> None:
    turns = results_of(user("a"), assistant(use()), user(result(is_error=True)))
    assert turns == [[], [Result("t1", "12 bytes", True)]]


def test_results_come_in_the_order_of_the_calls() -> None:
    messages = [user("a"), assistant(use("t1"), use("t2")), user(result("t2"), result("t1"))]
    assert [r.id for r in results_of(*messages)[1]] == ["t1", "t2"]


@pytest.mark.parametrize("after", [[], [user("never mind")], [user(result("t9"))]])
def test_unanswered_call(after: list[Message]) -> None:
    assert results_of(user("a"), assistant(use()), *after)[1] == [Result("t1", NOT_EXECUTED, True)]


def test_orphan_result_keeps_its_text() -> None:
    first, last = build_turns(
        [user(result("t9", "lost")), assistant("b"), user(result("t8", "too"))]
    )[::2]
    for turn, text in ((first, "lost"), (last, "too")):
        assert isinstance(turn, UserTurn)
        assert turn.results == []
        assert text in turn.content


def test_pairing_is_by_adjacency() -> None:
    """Protocol notes 3.4, rule 3: not somewhere in the history."""
    messages = [user("a"), assistant(use()), user("b"), assistant("c"), user(result("t1", "late"))]
    turns = build_turns(messages)
    assert isinstance(turns[2], UserTurn)
    assert turns[2].results == [Result("t1", NOT_EXECUTED, True)]
    assert isinstance(turns[4], UserTurn)
    assert turns[4].results == []
    assert "late" in turns[4].content


def test_results_of_several_user_messages_belong_to_one_turn() -> None:
    messages = [user("a"), assistant(use("t1"), use("t2")), user(result("t1")), user(result("t2"))]
    assert [r.id for r in results_of(*messages)[1]] == ["t1", "t2"]


def test_result_behind_a_system_message() -> None:
    """Claude Code's newest models: a system message between call and result."""
    turns = results_of(user("a"), assistant(use()), system("note"), user(result()))
    assert turns[1] == [Result("t1", "12 bytes", False)]


def test_duplicate_results() -> None:
    messages = [user("a"), assistant(use()), user(result(), result(), result(text="other"))]
    last = build_turns(messages)[-1]
    assert isinstance(last, UserTurn)
    assert [r.text for r in last.results] == ["12 bytes"]
    assert last.content.count("12 bytes") == 0, "the same again says nothing new"
    assert "other" in last.content


def test_duplicate_calls() -> None:
    turn = build_turns([user("a"), assistant(use(), use(path="x")), user(result())])[1]
    assert isinstance(turn, AssistantTurn)
    assert len(turn.uses) == 1
    assert '{"path":"x"}' in turn.content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], NO_OUTPUT),
        ([Text("")], NO_OUTPUT),
        ([Text("a"), Text("b")], "a\nb"),
        ([Image("x")], SEE_IMAGE),
        ([Text("a"), Image("x")], "a"),
    ],
)
def test_trap_18_content_of_results(content: list[Text | Image], text: str) -> None:
    last = build_turns([user("a"), assistant(use()), user(ToolResult("t1", content))])[-1]
    assert isinstance(last, UserTurn)
    assert [r.text for r in last.results] == [text]
    assert last.images == [part for part in content if isinstance(part, Image)]


def test_trap_15_images_of_results_are_lifted_in_order() -> None:
    blocks = [Image("1"), ToolResult("t1", [Image("2")]), Image("3")]
    last = build_turns([user("a"), assistant(use()), user(*blocks)])[-1]
    assert isinstance(last, UserTurn)
    assert [image.data for image in last.images] == ["1", "2", "3"]


def test_images_of_the_assistant_go_into_the_next_turn() -> None:
    before, _, after = build_turns(
        [
            user("a"),
            assistant(Image("1"), ToolResult("t1", [Image("2")])),
            user("b", Image("3")),
        ]
    )
    assert isinstance(before, UserTurn)
    assert not before.images
    assert isinstance(after, UserTurn)
    assert [image.data for image in after.images] == ["1", "2", "3"]
    assert after.content.endswith("are the assistant's.]\nb")


def test_blocks_on_the_wrong_side_are_kept_as_text() -> None:
    turns = build_turns(
        [user(use(path="x"), Thinking("hm")), assistant(result(text="out"), "b"), user("c")]
    )
    assert '{"path":"x"}' in turns[0].content
    assert "hm" in turns[0].content
    assert turns[1].content.index("out") < turns[1].content.index("b")


def test_unparsed_tool_input_passes() -> None:
    """Claude Code sends cut input back as it was (clients.md)."""
    cut = use(__unparsedToolInput='{"a": "on')
    turn = build_turns([user("a"), assistant(cut), user(result())])[1]
    assert isinstance(turn, AssistantTurn)
    assert turn.uses[0].input == {"__unparsedToolInput": '{"a": "on'}


def test_used_tool_names() -> None:
    turns = build_turns(
        [user("a"), assistant(use("1", "b"), use("2", "a"), use("3", "b")), user("c")]
    )
    assert used_tool_names(turns) == ["b", "a"]


def test_kiro_result() -> None:
    assert kiro_result(Result("call_abc\nfc_def", "boom", True)) == {
        "toolUseId": "tooluse_4c6d34f656a22d01f0c416c0adc083b531d0e231",
        "content": [{"text": "boom"}],
        "status": "error",
    }
    assert kiro_result(Result("t1", "ok", False))["status"] == "success"
