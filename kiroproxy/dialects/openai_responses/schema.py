"""The outer object of a Responses request; items stay plain dicts (design 7)."""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from kiroproxy.dialects import openai_common as common

REFUSALS: common.Refusals = {
    "background": (bool, "answers are not made in the background"),
    "conversation": (lambda _: True, "there is no Conversations API; use previous_response_id"),
    "prompt": (lambda _: True, "no prompt templates are stored here; send the input itself"),
    "top_logprobs": (lambda n: n != 0, "Kiro gives no log probabilities"),
    "modalities": (lambda kinds: kinds != ["text"], "only ['text'] can be had"),
}
LOGPROBS = "message.output_text.logprobs"


class ResponsesSchema(Schema):
    """A Responses request. Unknown fields are none of our business."""

    class Meta:
        """Clients send fields that are newer than this program."""

        unknown = EXCLUDE

    model = fields.String(required=True, validate=validate.Length(min=1, max=256))
    input = common.Typed((str, list), "a string or a list of items")
    instructions = common.Typed((str, list), "a string")
    stream = common.flag()
    tools = common.Objects()
    tool_choice = fields.Raw(load_default=None, allow_none=True)
    parallel_tool_calls = common.flag()
    text = common.obj()
    reasoning = common.obj()
    include = common.Typed(list, "a list of strings")
    store = common.flag()
    previous_response_id = common.string()
    prompt_cache_key = common.string()
    metadata = common.obj()
    max_output_tokens = common.count()
    truncation = common.Typed(str, "'auto' or 'disabled'")
    temperature = common.Typed((int, float), "a number")
    top_p = common.Typed((int, float), "a number")
    user = common.string()
    safety_identifier = common.string()


_SCHEMA = ResponsesSchema()


def load_responses(body: Mapping[str, Any]) -> dict[str, Any]:
    """Check a request.

    Raises:
        InvalidRequest: names the first field that is wrong, or cannot be had.
    """
    loaded = common.load(_SCHEMA, body)
    common.refuse(body, REFUSALS)
    if LOGPROBS in (loaded["include"] or ()):
        raise common.invalid("include", "Kiro gives no log probabilities", "unsupported_parameter")
    if loaded["input"] is None and loaded["previous_response_id"] is None:
        raise common.invalid("input", "required", "missing_required_parameter")
    return loaded
