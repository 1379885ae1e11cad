"""A conversation as it goes to Kiro, and what is refused on the way to one."""

from collections.abc import Callable

from kiroproxy.conversation import Conversation
from kiroproxy.errors import InvalidRequest
from kiroproxy.kiro.models import ModelSettings, choose_model
from kiroproxy.kiro.request import KiroRequest, RequestSettings, build_request

SESSION = "0a0a0a0a-0b0b-4c0c-8d0d-0e0e0e0e0e0e"


def built(conversation: Conversation) -> KiroRequest:
    """The request to Kiro; an unknown model is taken for a known one."""
    return build_request(
        conversation,
        choose_model(conversation.model, ModelSettings(unknown="claude-sonnet-4.5")),
        RequestSettings(),
        conversation_id=SESSION,
        continuation_id=SESSION,
    )


def refusal_of(act: Callable[[], object]) -> InvalidRequest | None:
    """The 400 that something ends in, if it does."""
    try:
        act()
    except InvalidRequest as error:
        return error
    return None
