"""The outer object of a Messages request; message content stays plain dicts (design 7)."""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from kiroproxy.errors import InvalidRequest

THREADS_UNSUPPORTED = "thread_unsupported_request"
"""What makes the SDK's tool runner fall back to sending the whole history (clients.md)."""


class _TextOrBlocks(fields.Field[Any]):
    """A string, or a list of content blocks."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str | list):
            raise ValidationError("Input should be a string or a list of content blocks")
        return value


class _Objects(fields.Field[Any]):
    """A list of objects."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ValidationError("Input should be a list of objects")
        return value


class _Object(fields.Field[Any]):
    """An object."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("Input should be an object")
        return value


class CountSchema(Schema):
    """A count_tokens request. Unknown fields are none of our business."""

    class Meta:
        """Clients send fields that are newer than this program."""

        unknown = EXCLUDE

    model = fields.String(required=True, validate=validate.Length(min=1, max=256))
    messages = _Objects(required=True, validate=validate.Length(min=1))
    system = _TextOrBlocks(load_default="", allow_none=True)
    tools = _Objects(load_default=list, allow_none=True)
    tool_choice = _Object(load_default=None, allow_none=True)
    thinking = _Object(load_default=None, allow_none=True)
    output_config = _Object(load_default=None, allow_none=True)
    output_format = _Object(load_default=None, allow_none=True)
    metadata = _Object(load_default=None, allow_none=True)


class MessagesSchema(CountSchema):
    """A Messages request."""

    max_tokens = fields.Integer(required=True, strict=True, validate=validate.Range(min=1))
    stream = fields.Boolean(load_default=False, allow_none=True, truthy={True}, falsy={False})
    stop_sequences = fields.List(fields.String(), load_default=list, allow_none=True)


_MESSAGES = MessagesSchema()
_COUNT = CountSchema()


def load_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    """Check a Messages request.

    Raises:
        InvalidRequest: names the first field that is wrong.
    """
    return _load(_MESSAGES, body)


def load_count(body: Mapping[str, Any]) -> dict[str, Any]:
    """Check a count_tokens request.

    Raises:
        InvalidRequest: names the first field that is wrong.
    """
    return _load(_COUNT, body)


def _load(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    if body.get("thread") is not None:
        raise InvalidRequest(
            "thread: message threads are not supported; send the whole history",
            param="thread",
            details={"error_code": THREADS_UNSUPPORTED},
        )
    try:
        loaded: dict[str, Any] = schema.load(body)
    except ValidationError as error:
        path, message = _first(error.messages)
        raise InvalidRequest(f"{path}: {message}", param=path) from None
    return loaded


def _first(messages: Any, path: str = "") -> tuple[str, str]:
    """The first of marshmallow's messages with its dotted path."""
    while isinstance(messages, dict):
        key, messages = next(iter(messages.items()))
        path = f"{path}.{key}" if path else str(key)
    message = messages[0] if isinstance(messages, list) else str(messages)
    return path, "Field required" if message.startswith("Missing data") else message
