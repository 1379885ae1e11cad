"""Real sessions come again with every turn: none may end in a refusal, and none may lose a word.

Repair, never rejection (protocol notes 3.4, traps 2 and 10; S60), whichever API a client speaks.
"""

import json
from typing import Any

from hypothesis import given, settings

from kiroproxy.conversation import Conversation
from kiroproxy.dialects.anthropic.request import translate as translate_messages
from kiroproxy.dialects.anthropic.schema import load_messages
from kiroproxy.dialects.openai_chat.request import translate as translate_chat
from kiroproxy.dialects.openai_chat.schema import load_chat
from kiroproxy.dialects.openai_responses.request import own_items
from kiroproxy.dialects.openai_responses.request import translate as translate_responses
from kiroproxy.dialects.openai_responses.schema import load_responses
from kiroproxy.kiro.request import MAX_IMAGES
from kiroproxy.simulator.refusals import find_refusal
from tests.dialects.anthropic.test_request import ARN, CALLER
from tests.dialects.neutral import built
from tests.dialects.sessions import (
    Session,
    anthropic_body,
    chat_body,
    responses_body,
    sessions,
)


def of_responses(body: dict[str, Any]) -> Conversation:
    loaded = load_responses(body)
    return translate_responses(loaded, own_items(loaded)).conversation


def conversations(session: Session) -> dict[str, Conversation]:
    """The same session through each API."""
    return {
        "anthropic": translate_messages(load_messages(anthropic_body(session))),
        "chat": translate_chat(load_chat(chat_body(session))).conversation,
        "responses": of_responses(responses_body(session)),
    }


@settings(max_examples=200, deadline=None)
@given(sessions())
def test_every_session_reaches_the_model_whole(session: Session) -> None:
    """S60: Kiro takes it, and every text, call, result and image is in it."""
    bodies = {}
    for name, conversation in conversations(session).items():
        request = built(conversation)
        refusal = find_refusal(request.body(ARN), CALLER)
        assert refusal is None, (name, refusal)
        state = json.loads(request.state)
        sent = json.dumps(state)
        lost = [text for text in session.texts() if text not in sent]
        assert not lost, (name, lost)
        images = session.images()
        kept = [image for image in images if image in sent]
        assert len(kept) == min(len(images), MAX_IMAGES), name
        del state["conversationId"], state["agentContinuationId"]
        bodies[name] = state
    assert bodies["anthropic"] == bodies["chat"] == bodies["responses"]
