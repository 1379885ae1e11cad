"""The OpenAI API: chat completions and Responses, and its refusals in its own shape."""

import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flask import Blueprint, Request, Response, g, request

from kiroproxy.conversation import Conversation, ReplyEvent, Stop
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.dialects.openai_chat import stream as chat
from kiroproxy.dialects.openai_chat.request import translate as translate_chat
from kiroproxy.dialects.openai_chat.schema import load_chat
from kiroproxy.dialects.openai_common import holds_file, invalid
from kiroproxy.dialects.openai_responses import stream as responses
from kiroproxy.dialects.openai_responses.request import (
    Item,
    ResponsesRequest,
    own_items,
    translate,
)
from kiroproxy.dialects.openai_responses.schema import load_responses
from kiroproxy.errors import NotFound
from kiroproxy.web.disconnect import DisconnectWatcher
from kiroproxy.web.offload import off_loop
from kiroproxy.web.replies import ReplySource, open_reply
from kiroproxy.web.response_store import Shelf, owner_of
from kiroproxy.web.services import services
from kiroproxy.web.streaming import Writer, answer
from kiroproxy.web.v1 import (
    PREFIXES,
    SESSION_HEADERS,
    authenticate,
    authenticated_body,
    json_response,
    open_account,
)

T = TypeVar("T")

blueprint = Blueprint("openai", __name__)
NOT_OFFERED = (
    "completions",
    "embeddings",
    "moderations",
    "audio",
    "images",
    "videos",
    "batches",
    "uploads",
    "vector_stores",
    "fine_tuning",
    "assistants",
    "threads",
    "conversations",
    "containers",
    "realtime",
    "evals",
)
"""Parts of OpenAI's API that have no counterpart in Kiro."""
OFFERED = "There are /v1/chat/completions, /v1/responses, /v1/messages and /v1/models."
_ROOT = re.compile(r"/(?:[^/]+/)?v1(?:/v1)?/([^/]+)")
_OPENAI_AGENT = re.compile(r"(?:async)?(?:azure)?openai/|codex", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_openai(request: Request) -> bool:
    """Whether the caller reads OpenAI's errors: by the path, else by who it says it is."""
    root = _ROOT.match(request.path)
    if root is None or root[1] == "messages":
        return False
    if root[1] in ("chat", "responses", *NOT_OFFERED):
        return True
    agent = request.headers.get("user-agent", "")
    return "anthropic-version" not in request.headers and bool(_OPENAI_AGENT.match(agent))


# ---- chat completions ------------------------------------------------------------------------


def chat_completions() -> Response:
    """Answer a chat completions request."""
    loaded = load_chat(authenticated_body())
    wanted = off_loop(holds_file(loaded["messages"]), lambda: translate_chat(loaded))
    conversation = wanted.conversation
    conversation.session = _session(loaded)
    head = chat.Head(f"chatcmpl-{uuid.uuid4().hex}", conversation.model, int(time.time()))

    def fold(events: list[ReplyEvent]) -> dict[str, Any]:
        return chat.collect(events, head, wanted)

    return _answer("openai_chat", conversation, lambda _: chat.ChatStream(head, wanted), fold)


# ---- Responses -------------------------------------------------------------------------------


def create_response() -> Response:
    """Answer a Responses request."""
    loaded = load_responses(authenticated_body())
    shelf = _shelf()
    items = own_items(loaded)
    earlier = _earlier(loaded["previous_response_id"], shelf)
    wanted = off_loop(
        holds_file([*earlier, *items]),
        lambda: translate(loaded, items, earlier, _resolver(shelf)),
    )
    conversation = wanted.conversation
    conversation.session = _session(loaded)
    response_id = f"resp_{uuid.uuid4().hex}"
    created_at = int(time.time())

    def writer(_: ReplySource) -> Writer:
        stream = responses.ResponsesStream(response_id, created_at, wanted)
        return _Storing(stream, wanted, shelf) if wanted.echo["store"] else stream

    def fold(events: list[ReplyEvent]) -> dict[str, Any]:
        response = responses.collect(events, response_id, created_at, wanted)
        if wanted.echo["store"]:
            shelf.put(response, wanted.items)
        return response

    return _answer("openai_responses", conversation, writer, fold)


class _Storing:
    """Stores a response before its last event is sent: its client may go on from it at once."""

    def __init__(
        self, stream: responses.ResponsesStream, wanted: ResponsesRequest, shelf: Shelf
    ) -> None:
        self._stream = stream
        self._wanted = wanted
        self._shelf = shelf
        self.ping = stream.ping

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        data = self._stream.feed(events)
        if self._stream.response is not None and not self._stream.failed:
            self._shelf.put(self._stream.response, self._wanted.items)
        return data


def _shelf() -> Shelf:
    """The responses of this client key in this group; another key's are as unknown as none."""
    key_id = g.caller.id if g.caller is not None else ""
    return services().responses.shelf(owner_of(key_id, g.get("group", DEFAULT_GROUP)))


def _earlier(previous: str | None, shelf: Shelf) -> list[dict[str, Any]]:
    """The items that a request goes on from.

    Raises:
        InvalidRequest: nobody knows them any more.
    """
    if previous is None:
        return []
    items = shelf.history(previous)
    if items is None:
        raise invalid(
            "previous_response_id",
            f"no response with id '{previous}' is stored here, or not any more; send the whole "
            "input instead",
            "previous_response_not_found",
        )
    return items


def _resolver(shelf: Shelf) -> Callable[[str], Item | None]:
    """Finds items of stored responses: some clients send nothing but their ids."""
    known: dict[str, Item] = {}

    def resolve(item_id: str) -> Item | None:
        if item_id not in known:
            response = shelf.get(responses.response_id_of(item_id)) or {}
            known.update({item["id"]: item for item in response.get("output", ())})
        return known.get(item_id)

    return resolve


def _unknown(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id}' not found.")


def get_response(response_id: str) -> Response:
    """A stored response.

    Raises:
        NotFound: there is none of that id.
    """
    authenticate()
    if request.args.get("stream", "").lower() == "true":
        raise invalid("stream", "a stored response is not streamed again", "unsupported_parameter")
    response = _shelf().get(response_id)
    if response is None:
        raise _unknown(response_id)
    return json_response(response)


def delete_response(response_id: str) -> Response:
    """Forget a stored response.

    Raises:
        NotFound: there is none of that id.
    """
    authenticate()
    if not _shelf().delete(response_id):
        raise _unknown(response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True})


# ---- both ------------------------------------------------------------------------------------


def _session(loaded: dict[str, Any]) -> str:
    """A client's session: a header's, or Codex's cache key; other cache keys are shared by many."""
    for name in SESSION_HEADERS:
        if name in request.headers:
            return request.headers[name]
    key = loaded["prompt_cache_key"] or ""
    return key if _UUID.fullmatch(key) else ""


def _answer(
    dialect: str,
    conversation: Conversation,
    writer: Callable[[ReplySource], Writer],
    fold: Callable[[list[ReplyEvent]], dict[str, Any]],
) -> Response:
    parts = services()
    account = open_account(dialect, conversation)

    def folded(events: list[ReplyEvent]) -> Response:
        response = json_response(fold(events))
        last = events[-1]
        if type(last) is Stop:
            source = "estimate" if last.usage.source == "estimate" else "upstream"
            response.headers["x-kiroproxy-usage"] = source
        return response

    return answer(
        lambda: open_reply(parts, conversation),
        writer if conversation.stream else None,
        folded,
        DisconnectWatcher(request.environ),
        account,
        parts.answers.begin(),
    )


def not_offered(**_: str) -> Response:
    """What Kiro has no counterpart for, and WebSockets."""
    authenticate()
    what = "WebSocket" if request.headers.get("upgrade") else request.path
    raise NotFound(f"{what} is not offered. {OFFERED} Answers stream as server-sent events.")


def _add_rules(prefix: str) -> None:
    add = blueprint.add_url_rule
    add(f"{prefix}/chat/completions", view_func=chat_completions, methods=["POST"])
    add(f"{prefix}/responses", view_func=create_response, methods=["POST"])
    one = f"{prefix}/responses/<response_id>"
    add(one, view_func=get_response, methods=["GET"])
    add(one, view_func=delete_response, methods=["DELETE"])
    for rule in (f"{prefix}/responses", f"{prefix}/realtime"):
        add(rule, view_func=not_offered, methods=["GET"], websocket=True)
    add(f"{prefix}/responses", view_func=not_offered, methods=["GET"])
    for path in ("responses/compact", "responses/input_tokens"):
        add(f"{prefix}/{path}", view_func=not_offered, methods=["POST"])
    add(f"{one}/<path:rest>", view_func=not_offered, methods=["GET", "POST"])
    add(f"{prefix}/chat/completions", view_func=not_offered, methods=["GET"])
    add(f"{prefix}/chat/completions/<path:rest>", view_func=not_offered)
    for path in NOT_OFFERED:
        for rule in (f"{prefix}/{path}", f"{prefix}/{path}/<path:rest>"):
            add(rule, view_func=not_offered, methods=["GET", "POST", "DELETE", "PATCH"])


for prefix in PREFIXES:
    _add_rules(prefix)
