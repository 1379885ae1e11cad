"""Turns as Kiro takes them: alternating, paired, never empty.

A client resends its history for ever, so a bad pair is repaired, not refused (protocol notes 3.4
and trap 2). Nothing that was said is lost: what has no place as a tool result becomes text.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from kiroproxy.conversation import (
    Image,
    Message,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from kiroproxy.kiro.tools import kiro_tool_id

FIRST_USER = "(The conversation begins with the assistant's words.)"
CONTINUE = "Continue your last message exactly where it stops. Do not repeat any of it."
NOT_EXECUTED = "The tool call was not executed."
NO_OUTPUT = "(no output)"
SEE_IMAGE = "(see the attached image)"
ASSISTANTS_IMAGES = "[The first of the attached images are the assistant's.]"
STRAY = "[Result of an earlier tool call]\n"


class Result(msgspec.Struct):
    """A tool's answer as Kiro takes it: text only."""

    id: str
    text: str
    is_error: bool


class UserTurn(msgspec.Struct):
    """What the user's side says in one turn."""

    texts: list[str] = msgspec.field(default_factory=list)
    images: list[Image] = msgspec.field(default_factory=list)
    results: list[Result] = msgspec.field(default_factory=list)

    @property
    def content(self) -> str:
        """Never empty: Kiro refuses that."""
        text = "\n".join(self.texts)
        return text if text.strip() else " "


class AssistantTurn(msgspec.Struct):
    """What the assistant said and called in one turn."""

    texts: list[str] = msgspec.field(default_factory=list)
    uses: list[ToolUse] = msgspec.field(default_factory=list)
    images: list[Image] = msgspec.field(default_factory=list)
    """Kiro has no place for them here: they go into the next turn."""

    @property
    def content(self) -> str:
        """Never empty: Kiro refuses that."""
        text = "\n\n".join(text for text in self.texts if text)
        return text if text.strip() else " "


Turn = UserTurn | AssistantTurn


def build_turns(messages: Sequence[Message]) -> list[Turn]:
    """Merge, alternate and pair; the list begins and ends with a user turn."""
    turns: list[Turn] = []
    for message in messages:
        if not _says_something(message):
            continue
        if message.role == "assistant":
            if not turns or not isinstance(turns[-1], AssistantTurn):
                turns.append(AssistantTurn())
            _add_assistant(turns[-1], message)
        else:
            if not turns or not isinstance(turns[-1], UserTurn):
                turns.append(UserTurn())
            _add_user(turns[-1], message)
    if not turns or isinstance(turns[0], AssistantTurn):
        turns.insert(0, UserTurn([FIRST_USER] if turns else []))
    if isinstance(turns[-1], AssistantTurn):
        turns.append(UserTurn([] if turns[-1].uses else [CONTINUE]))
    _pair(turns)
    _hand_on_images(turns)
    return turns


def _hand_on_images(turns: Sequence[Turn]) -> None:
    for turn, following in pairwise(turns):
        if isinstance(turn, AssistantTurn) and turn.images and isinstance(following, UserTurn):
            following.images[:0] = turn.images
            following.texts.insert(0, ASSISTANTS_IMAGES)


def _says_something(message: Message) -> bool:
    """A turn of nothing but white space would only break up its neighbours."""
    return any(not isinstance(block, Text) or block.text.strip() for block in message.content)


def _add_assistant(turn: Turn, message: Message) -> None:
    assert isinstance(turn, AssistantTurn)  # noqa: S101 - for the type checker
    for block in message.content:
        if isinstance(block, Text):
            turn.texts.append(block.text)
        elif isinstance(block, Thinking) and block.text:
            turn.texts.append(f"<thinking>{block.text}</thinking>")
        elif isinstance(block, ToolUse):
            known = any(use.id == block.id for use in turn.uses)
            if known:  # an id can be answered only once
                turn.texts.append(_called(block))
            else:
                turn.uses.append(block)
        elif isinstance(block, ToolResult):
            turn.images.extend(part for part in block.content if isinstance(part, Image))
            turn.texts.append(STRAY + _result_text(block))
        elif isinstance(block, Image):
            turn.images.append(block)
        # redacted thinking has no text, and what Kiro did not encrypt it cannot read


def _add_user(turn: Turn, message: Message) -> None:
    assert isinstance(turn, UserTurn)  # noqa: S101 - for the type checker
    for block in message.content:
        if isinstance(block, Text):
            turn.texts.append(_system_text(block.text) if message.role == "system" else block.text)
        elif isinstance(block, Image):
            turn.images.append(block)
        elif isinstance(block, ToolResult):
            turn.images.extend(part for part in block.content if isinstance(part, Image))
            turn.results.append(Result(block.tool_use_id, _result_text(block), block.is_error))
        elif isinstance(block, ToolUse):
            turn.texts.append(_called(block))
        elif isinstance(block, Thinking):
            turn.texts.append(block.text)


def _called(use: ToolUse) -> str:
    return f"[Called {use.name} with {msgspec.json.encode(use.input).decode()}]"


def _result_text(result: ToolResult) -> str:
    text = "\n".join(part.text for part in result.content if isinstance(part, Text))
    if text.strip():
        return text
    return SEE_IMAGE if any(isinstance(part, Image) for part in result.content) else NO_OUTPUT


def _system_text(text: str) -> str:
    """Mark an instruction that stands between turns: it is no user's word."""
    return f"<system-reminder>\n{text}\n</system-reminder>"


def _pair(turns: list[Turn]) -> None:
    """Answer every call in the very next turn, and leave no answer without its call."""
    calls: dict[str, ToolUse] = {}
    for turn in turns:
        if isinstance(turn, AssistantTurn):
            calls = {use.id: use for use in turn.uses}
            continue
        answered: dict[str, Result] = {}
        stray: list[str] = []
        for result in turn.results:
            if result.id in calls and result.id not in answered:
                answered[result.id] = result
            elif result.id not in answered or answered[result.id].text != result.text:
                stray.append(STRAY + result.text)
        turn.results = [
            answered.get(id_) or Result(id_, NOT_EXECUTED, is_error=True) for id_ in calls
        ]
        turn.texts[:0] = stray
        calls = {}


def used_tool_names(turns: Iterable[Turn]) -> list[str]:
    """Names of the tools that the history calls, in order of appearance."""
    uses = (use for turn in turns if isinstance(turn, AssistantTurn) for use in turn.uses)
    return list(dict.fromkeys(use.name for use in uses))


def kiro_result(result: Result) -> dict[str, object]:
    """A tool result on Kiro's wire."""
    return {
        "toolUseId": kiro_tool_id(result.id),
        "content": [{"text": result.text}],
        "status": "error" if result.is_error else "success",
    }
