"""The outer object of a chat completions request; messages stay plain dicts (design 7)."""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from kiroproxy.dialects import openai_common as common

REFUSALS: common.Refusals = {
    "n": (lambda n: n != 1, "only one choice can be had"),
    "logprobs": (bool, "Kiro gives no log probabilities"),
    "top_logprobs": (lambda n: n != 0, "Kiro gives no log probabilities"),
    "audio": (lambda _: True, "Kiro's models do not speak"),
    "modalities": (lambda kinds: kinds != ["text"], "only ['text'] can be had"),
}


class ChatSchema(Schema):
    """A chat completions request. Unknown fields are none of our business."""

    class Meta:
        """Clients send fields that are newer than this program."""

        unknown = EXCLUDE

    model = fields.String(required=True, validate=validate.Length(min=1, max=256))
    messages = common.Objects(required=True, validate=validate.Length(min=1))
    stream = common.flag()
    stream_options = common.obj()
    tools = common.Objects()
    tool_choice = fields.Raw(load_default=None, allow_none=True)
    parallel_tool_calls = common.flag()
    functions = common.Objects()
    function_call = common.Typed((str, dict), "'none', 'auto' or an object")
    response_format = common.obj()
    stop = common.Typed((str, list), "a string or a list of strings")
    reasoning_effort = common.string()
    reasoning = fields.Raw(load_default=None, allow_none=True)
    thinking = fields.Raw(load_default=None, allow_none=True)
    max_tokens = common.count()
    max_completion_tokens = common.count()
    web_search_options = common.obj()
    prompt_cache_key = common.string()


_SCHEMA = ChatSchema()


def load_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Check a request.

    Raises:
        InvalidRequest: names the first field that is wrong, or cannot be had.
    """
    loaded = common.load(_SCHEMA, body)
    common.refuse(body, REFUSALS)
    return loaded
