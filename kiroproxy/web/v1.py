"""The Anthropic Messages API: /v1/messages, count_tokens, models."""

import uuid
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, request

from kiroproxy.conversation import Conversation, ReplyEvent, Stop
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.dialects.anthropic.request import has_pdf, translate
from kiroproxy.dialects.anthropic.schema import load_count, load_messages
from kiroproxy.dialects.anthropic.stream import AnthropicStream, HeldStream, collect
from kiroproxy.dialects.jsontext import dumps, parse_body
from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import Model, choose_model, listed_models
from kiroproxy.ledger.keys import check_group, check_model, may_use
from kiroproxy.token_count import estimate_conversation
from kiroproxy.web.account import Account
from kiroproxy.web.address import client_address
from kiroproxy.web.auth import identify
from kiroproxy.web.body import read_body, read_json
from kiroproxy.web.disconnect import DisconnectWatcher
from kiroproxy.web.offload import off_loop
from kiroproxy.web.replies import CATALOGUE_WAIT_S, ReplySource, choose, open_reply
from kiroproxy.web.services import Services, services
from kiroproxy.web.streaming import answer

blueprint = Blueprint("v1", __name__)
PREFIXES = ("/v1", "/v1/v1", "/<group:group>/v1", "/<group:group>/v1/v1")
"""SDKs append `/v1/messages` to a base URL that already ends in `/v1` (X5); groups: S119."""
SESSION_HEADERS = ("x-claude-code-session-id", "x-session-id", "session-id")
COUNT_AWAY_BYTES = 4 * 1024 * 1024
"""Larger requests are counted off the event loop (design, Q5)."""
ANSWERING = {
    "v1.messages": "anthropic",
    "cc_v1.messages": "anthropic",
    "openai.chat_completions": "openai_chat",
    "openai.create_response": "openai_responses",
}
"""Endpoints that ask for an answer → their dialects: each such request has a row in the ledger."""
CREATED = 1234567890
CREATED_AT = "2009-02-13T23:31:30Z"
"""The catalogue does not say when a model was made."""


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON body, big integers kept."""
    return Response(dumps(value), status, content_type="application/json")


def authenticate() -> None:
    """Find out whose key it is (`g.caller`, None for the root key), and that it may come here.

    Raises:
        NotAuthenticated, NotFound, NotAllowed: it may not, or cannot, be served.
    """
    parts = services()
    g.caller = caller = identify(request, parts.config.api_key, parts.ledger.keys)
    if "group" in g:
        parts.pool.check_group(g.group)
    if caller is not None:
        check_group(caller, g.get("group", DEFAULT_GROUP))


def authenticated_body() -> dict[str, Any]:
    """Check the key, then read the body: a stranger's megabytes are not worth reading."""
    authenticate()
    body = _body(services())
    g.asked = body.get("model"), body.get("stream")  # for the account of a body that is refused
    return body


def _body(parts: Services) -> dict[str, Any]:
    limit_bytes, timeout_s = parts.config.max_body_bytes, parts.config.body_timeout_sec
    if parts.recorder is None:
        return read_json(request, limit_bytes=limit_bytes, timeout_s=timeout_s)
    query = request.query_string.decode("latin-1")
    g.tape = tape = parts.recorder.tape(
        g.request_id, request.method, request.path, query, request.headers
    )
    body = read_body(request, limit_bytes=limit_bytes, timeout_s=timeout_s)
    tape.request_body(body)
    return parse_body(body)


def messages() -> Response:
    """Answer a Messages request."""
    return answer_messages(held=False)


def answer_messages(*, held: bool) -> Response:
    """Answer a Messages request; `held` sends nothing but pings until the reply has ended."""
    conversation = translated(authenticated_body(), load_messages)
    conversation.session = conversation.session or _session_header()
    return _answer(conversation, open_account("anthropic", conversation), held=held)


def open_account(dialect: str, conversation: Conversation) -> Account:
    """Begin to measure the running request.

    An exception that nobody else has accounted for ends it with its status.
    """
    g.account = account = _measure(dialect, conversation.model, conversation.stream)
    return account


def _measure(dialect: str, model: str, stream: bool, began: float | None = None) -> Account:
    """An account of the running request, for the ledger, the metrics and the flight recorder."""
    parts = services()
    account = Account(
        str(request.url_rule),
        stream=stream,
        model=model,
        dialect=dialect,
        client=client_address(request, parts.config),
        group=g.get("group", DEFAULT_GROUP),
        key=g.caller,
        ledger=parts.ledger,
        request_id=g.request_id,
        began=began,
        context=g.context,
        spans=parts.spans,
    )
    g.measured = True
    g.entrance = account.entrance
    account.tape = tape = g.get("tape")
    if tape is not None:
        tape.dialect, tape.model, tape.stream = dialect, model, stream
    return account


def account_of_refusal() -> Account | None:
    """The account of a request that is refused before it had one.

    None where no answer was asked for, and for strangers: what they send shall not fill the disk.
    """
    dialect = ANSWERING.get(request.endpoint or "")
    if dialect is None or "caller" not in g:
        return None
    model, stream = g.get("asked", ("", False))
    model = model if isinstance(model, str) else ""
    return _measure(dialect, model, stream is True, began=g.began)


def translated(
    body: dict[str, Any], load: Callable[[dict[str, Any]], dict[str, Any]]
) -> Conversation:
    """Check and translate a body; one with a PDF in it off the event loop (design, Q5).

    Raises:
        InvalidRequest: names what is wrong.
    """
    loaded = load(body)
    return off_loop(has_pdf(loaded), lambda: translate(loaded))


def _answer(conversation: Conversation, account: Account, *, held: bool) -> Response:
    parts = services()
    message_id = f"msg_{uuid.uuid4().hex[:24]}"

    def begin() -> ReplySource:
        return open_reply(parts, conversation)

    def writer(source: ReplySource) -> AnthropicStream:
        source.held = held
        kind = HeldStream if held else AnthropicStream
        return kind(message_id, conversation.model, source.input_tokens, g.request_id)

    def fold(events: list[ReplyEvent]) -> Response:
        response = json_response(collect(events, message_id, conversation.model))
        last = events[-1]
        if type(last) is Stop:
            source = "estimate" if last.usage.source == "estimate" else "upstream"
            response.headers["x-kiroproxy-usage"] = source
        return response

    watcher = DisconnectWatcher(request.environ)
    work = parts.answers.begin()
    return answer(begin, writer if conversation.stream else None, fold, watcher, account, work)


def _session_header() -> str:
    return next((request.headers[name] for name in SESSION_HEADERS if name in request.headers), "")


def count_tokens() -> Response:
    """Count the input of a request: an estimate, or what `countTokensApiUrl` says (S64 to S67)."""
    parts = services()
    body = authenticated_body()
    conversation = translated(body, load_count)
    model = choose(parts, conversation.model).model
    if g.caller is not None:
        check_model(g.caller, conversation.model, model.id)
    counted = parts.count_api.count(body) if parts.count_api is not None else None
    if counted is None:
        factor = parts.calibration.factor(model.id)
        slow = (request.content_length or 0) > COUNT_AWAY_BYTES
        counted = off_loop(slow, lambda: estimate_conversation(conversation, factor))
    return json_response({"input_tokens": max(counted, 1)})


def _model_object(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": CREATED_AT,
        "max_input_tokens": model.window,
        "max_tokens": model.max_output,
        "object": "model",
        "created": CREATED,
        "owned_by": "anthropic",
    }


def list_models() -> Response:
    """The models that the key may use, as both the Anthropic and the OpenAI SDK read them (S1)."""
    authenticate()
    parts = services()
    known = parts.catalogue.models(CATALOGUE_WAIT_S)
    models = listed_models(parts.models, known)
    if (caller := g.caller) is not None and caller.models:
        served = {one.id: choose_model(one.id, parts.models, known).model.id for one in models}
        models = [one for one in models if may_use(caller, one.id, served[one.id])]
    data = [_model_object(model) for model in models]
    body: dict[str, Any] = {"object": "list", "data": data, "has_more": False}
    body["first_id"] = data[0]["id"] if data else None
    body["last_id"] = data[-1]["id"] if data else None
    return json_response(body)


def one_model(model_id: str) -> Response:
    """One model, by any name that a request may use.

    Raises:
        NotFound: no rule knows the name.
        NotAllowed: the key is for other models.
    """
    authenticate()
    parts = services()
    model = choose(parts, model_id).model
    if g.caller is not None:
        check_model(g.caller, model_id, model.id)
    return json_response(_model_object(Model(model_id, model.name, model.window, model.max_output)))


def not_offered(rest: str = "") -> Response:
    """Batches and files have no counterpart in Kiro."""
    authenticate()
    raise NotFound(f"{request.path} is not offered: Kiro has no counterpart.")


for prefix in PREFIXES:
    add = blueprint.add_url_rule
    add(f"{prefix}/messages", view_func=messages, methods=["POST"])
    add(f"{prefix}/messages/count_tokens", view_func=count_tokens, methods=["POST"])
    add(f"{prefix}/models", view_func=list_models, methods=["GET"])
    add(f"{prefix}/models/<path:model_id>", view_func=one_model, methods=["GET"])
    for path in ("messages/batches", "files"):
        for rule in (f"{prefix}/{path}", f"{prefix}/{path}/<path:rest>"):
            add(rule, view_func=not_offered, methods=["GET", "POST", "DELETE"])
