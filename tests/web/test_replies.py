"""Which source a conversation's reply comes from."""

from typing import Any

import pytest

from kiroproxy.conversation import Conversation, Message, Text
from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import BUILT_IN, Model, ModelSettings
from kiroproxy.web.replies import choose, conversation_key


class Catalogue:
    """A list that becomes live only for those who wait."""

    def models(self, wait_s: float = 0.0) -> Any:
        return [Model("claude-fable-5", "Claude Fable 5")] if wait_s else BUILT_IN


class Parts:
    models = ModelSettings()
    catalogue = Catalogue()


def test_known_names_do_not_wait_for_the_catalogue() -> None:
    parts: Any = Parts()
    assert choose(parts, "claude-opus-4-8").model.id == "claude-opus-4.8"


def test_unknown_name_waits_once_for_the_live_list() -> None:
    """Design 5: `claude-fable-5` is itself if listed."""
    parts: Any = Parts()
    assert choose(parts, "claude-fable-5").model.id == "claude-fable-5"
    with pytest.raises(NotFound):
        choose(parts, "gpt-5-codex")


# ---- what a conversation is recognised by ----------------------------------------------------


def conversation(*texts: str, system: str = "", **more: Any) -> Conversation:
    roles: list[Any] = ["user", "assistant"] * len(texts)
    turns = [Message(role, [Text(text)]) for role, text in zip(roles, texts, strict=False)]
    return Conversation("m", turns, system=[system], **more)


def test_a_clients_session_comes_first() -> None:
    """Design 5; S-less clients are known by how their conversation began."""
    key, goes_on = conversation_key(conversation("hello", session="s"))
    assert (key, goes_on) == conversation_key(conversation("other", session="s"))
    assert goes_on
    assert key != conversation_key(conversation("hello", session="t"))[0]
    assert key != "s"


def test_else_the_system_text_and_the_first_message() -> None:
    first, begins = conversation_key(conversation("hello", system="be kind"))
    later, goes_on = conversation_key(conversation("hello", "hi", "and?", system="be kind"))
    assert first == later
    assert (begins, goes_on) == (False, True)
    assert first != conversation_key(conversation("hello", system="be rude"))[0]
    assert first != conversation_key(conversation("bye", system="be kind"))[0]


def test_the_billing_header_is_in_no_key() -> None:
    """clients.md: it differs in each turn."""
    keys = {
        conversation_key(
            conversation("hello", system=f"x-anthropic-billing-header: cc_version=1; cch={n};")
        )[0]
        for n in range(3)
    }
    assert len(keys) == 1
