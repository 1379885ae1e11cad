"""What both OpenAI APIs share: checking fields, content parts, thinking and token counts (pure).

Clients resend what they have, so unknown kinds of parts are kept as text instead of being refused;
only what cannot be understood at all is a 400 that names its place.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from marshmallow import Schema, ValidationError, fields

from kiroproxy.conversation import Image, Json, Text, ThinkingMode, Usage
from kiroproxy.dialects.documents import pdf_text
from kiroproxy.errors import InvalidRequest
from kiroproxy.token_count import TokenTally

Part = Text | Image
PING = b": ping\n\n"
"""A comment: the OpenAI API has no ping event, and clients' parsers skip comments."""
PDF = "JVBERi"
"""How the base64 of a PDF begins."""
BUDGETS: Mapping[str, int] = {
    "none": 0,
    "minimal": 0,
    "low": 4_000,
    "medium": 10_000,
    "high": 20_000,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Reasoning effort → tokens to think (S46, protocol notes 3.9)."""


def invalid(where: str, problem: str, code: str = "invalid_value") -> InvalidRequest:
    """A 400 that names its place, with the code that OpenAI clients read."""
    return InvalidRequest(f"{where}: {problem}", param=where, details={"code": code})


# ---- the outer object ------------------------------------------------------------------------


class Typed(fields.Field[Any]):
    """A value of one of some JSON types, kept as it is."""

    def __init__(self, kind: type | tuple[type, ...], words: str, **more: Any) -> None:
        """Complete the sentence "Expected …"."""
        optional: dict[str, Any] = (
            {} if more.get("required") else {"allow_none": True, "load_default": None}
        )
        super().__init__(**optional, **more)
        self._kind = kind
        self._words = words

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, self._kind) or (isinstance(value, bool) and self._kind is int):
            raise ValidationError(f"expected {self._words}")
        return value


class Objects(Typed):
    """A list of objects."""

    def __init__(self, **more: Any) -> None:
        super().__init__(list, "a list of objects", **more)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ValidationError(f"expected {self._words}")
        return value


def flag() -> Typed:
    """A boolean."""
    return Typed(bool, "a boolean")


def obj() -> Typed:
    """An object."""
    return Typed(dict, "an object")


def string() -> Typed:
    """A string."""
    return Typed(str, "a string")


def count() -> fields.Integer:
    """A number of tokens."""
    return fields.Integer(strict=True, allow_none=True, load_default=None, validate=_positive)


def _positive(value: int) -> None:
    if value < 1:
        raise ValidationError("expected an integer above zero")


def load(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Check the outer object of a request.

    Raises:
        InvalidRequest: names the first field that is wrong.
    """
    try:
        loaded: dict[str, Any] = schema.load(body)
    except ValidationError as error:
        path, words = _first(error.messages)
        if words.startswith("Missing data"):
            raise invalid(path, "required", "missing_required_parameter") from None
        raise invalid(path, words.rstrip("."), "invalid_type") from None
    return loaded


def _first(messages: Any) -> tuple[str, str]:
    path = ""
    while isinstance(messages, dict):
        key, messages = next(iter(messages.items()))
        path = f"{path}.{key}" if path else str(key)
    return path, str(messages[0] if isinstance(messages, list) else messages)


Refusals = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Parameter → whether this value of it is refused, and why."""


def refuse(body: Mapping[str, Any], refusals: Refusals) -> None:
    """Say no to what would change the meaning of the answer if it were ignored.

    Raises:
        InvalidRequest: names the parameter.
    """
    for name, (refused, why) in refusals.items():
        value = body.get(name)
        if value is not None and refused(value):
            raise invalid(name, why, "unsupported_parameter")


def text_field(value: Mapping[str, Any], key: str, where: str) -> str:
    """A string that must be there.

    Raises:
        InvalidRequest: it is not.
    """
    found = value.get(key)
    if not isinstance(found, str):
        code = "missing_required_parameter" if found is None else "invalid_type"
        raise invalid(f"{where}.{key}", "expected a string", code)
    return found


# ---- content parts ---------------------------------------------------------------------------


def parts(content: Any, where: str, first: int = 0) -> list[Part]:
    """Content as either API writes it: nothing, a string or a list of parts, from `first` on.

    Raises:
        InvalidRequest: names the part that cannot be understood.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise invalid(where, "expected a string or a list of content parts", "invalid_type")
    found: list[Part] = []
    for index, part in enumerate(content, first):
        found += _part(part, f"{where}[{index}]")
    return found


def output_parts(content: Any, where: str) -> list[Part]:
    """What a tool gave; some clients send the object that it returned.

    Raises:
        InvalidRequest: names the part that cannot be understood.
    """
    if isinstance(content, dict):
        return [Text(json.dumps(content, ensure_ascii=False))]
    return parts(content, where)


def _part(part: Any, where: str) -> list[Part]:
    if isinstance(part, str):
        return [Text(part)]
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise invalid(f"{where}.type", "expected a content part", "invalid_type")
    read = _PARTS.get(part["type"])
    return unknown(part) if read is None else read(part, where)


def unknown(value: Mapping[str, Any]) -> list[Part]:
    """Something newer than this program, for the model to make sense of; its images to look at."""
    images: list[Part] = []

    def without_images(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: without_images(part) for key, part in inner.items()}
        if isinstance(inner, list):
            return [without_images(part) for part in inner]
        if isinstance(inner, str) and (found := _IMAGE_DATA.match(inner)):
            images.append(Image(inner[found.start(1) :]))
            return f"(attached image {len(images)})"
        return inner

    shown = json.dumps(without_images(value), ensure_ascii=False)
    return [Text(f"[{value.get('type')}] {shown}"), *images]


_IMAGE_DATA = re.compile(
    r"(?:data:image/[\w.+-]+;base64,)?"
    r"((?:iVBORw0KGgo|/9j/|R0lGOD[dl]h|UklGR[A-Za-z0-9+/]{6}XRUJQ)[A-Za-z0-9+/\s]{8,}+=*+\s*+\Z)"
)
"""Base64 of a PNG, JPEG, GIF or WebP, by how it begins."""


def _text(part: Mapping[str, Any], where: str) -> list[Part]:
    return [Text(text_field(part, "text", where))]


def _refusal(part: Mapping[str, Any], where: str) -> list[Part]:
    return [Text(text_field(part, "refusal", where))]


def _image(part: Mapping[str, Any], where: str) -> list[Part]:
    """`image_url` is an object in chat completions, a string in Responses."""
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str):
        if part.get("file_id") is not None:
            raise _no_files(f"{where}.file_id")
        raise invalid(f"{where}.image_url", "expected a URL", "missing_required_parameter")
    if not url.lower().startswith("data:"):
        return [Image("", where, url)]
    return [Image(_data_uri(url, f"{where}.image_url")[1], where)]


def _data_uri(uri: str, where: str) -> tuple[str, str]:
    """Media type and base64 text."""
    head, comma, data = uri[5:].partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise invalid(where, "expected a data URI in base64")
    return head[:-7].lower(), data


def _no_files(where: str) -> InvalidRequest:
    return invalid(
        where, "no files are stored here; send the content itself", "unsupported_parameter"
    )


def _file(part: Mapping[str, Any], where: str) -> list[Part]:
    """`file` holds an object in chat completions; `input_file` of Responses is flat."""
    inner = part.get("file", part)
    if not isinstance(inner, dict):
        raise invalid(f"{where}.file", "expected an object", "invalid_type")
    for key in ("file_id", "file_url"):
        if inner.get(key) is not None:
            raise _no_files(f"{where}.{key}")
    data = text_field(inner, "file_data", where)
    media = ""
    if data.startswith("data:"):
        media, data = _data_uri(data, f"{where}.file_data")
    name = inner.get("filename")
    heading: list[Part] = [Text(f"[Document: {name}]")] if isinstance(name, str) and name else []
    if media == "application/pdf" or data.startswith(PDF):
        return [*heading, Text(pdf_text(data, where))]
    if media.startswith("image/"):
        return [*heading, Image(data, where)]
    try:
        return [*heading, Text(base64.b64decode(data, validate=True).decode())]
    except ValueError:
        raise invalid(where, "the file is neither a PDF nor text in base64") from None


def holds_file(messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether translating takes a document to be read, which is slow."""
    return any(
        isinstance(part, dict) and part.get("type") in ("file", "input_file")
        for message in messages
        for key in ("content", "output")
        if isinstance(message.get(key), list)
        for part in message[key]
    )


def _audio(part: Mapping[str, Any], where: str) -> list[Part]:
    raise invalid(where, "Kiro's models do not hear: audio is not supported", "unsupported_value")


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], list[Part]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "summary_text": _text,
    "reasoning_text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_image": _image,
    "file": _file,
    "input_file": _file,
    "input_audio": _audio,
    "audio": _audio,
}


# ---- options ---------------------------------------------------------------------------------


def thinking_of(effort: str | None, where: str) -> ThinkingMode:
    """What a reasoning effort comes to.

    Raises:
        InvalidRequest: no known effort.
    """
    if effort is None:
        return ThinkingMode()
    budget = BUDGETS.get(effort)
    if budget is None:
        raise invalid(where, f"expected one of {', '.join(BUDGETS)}")
    return ThinkingMode("enabled", budget, effort) if budget else ThinkingMode()


def json_schema_of(wanted: Mapping[str, Any] | None, where: str) -> Json:
    """The schema of the wanted format; empty for any JSON, None for text.

    In chat completions it lies one level deeper than in Responses.

    Raises:
        InvalidRequest: no known format.
    """
    kind = "text" if wanted is None else wanted.get("type", "text")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {}
    if kind != "json_schema":
        raise invalid(f"{where}.type", "expected 'text', 'json_object' or 'json_schema'")
    inner = wanted.get("json_schema", wanted)
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if schema is not None and not isinstance(schema, dict):
        raise invalid(f"{where}.schema", "expected an object", "invalid_type")
    return schema or {}


def arguments_of(text: Any) -> dict[str, Any]:
    """The input of a tool call as an object; what is none is kept as text."""
    if isinstance(text, dict):
        return text
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError):
        value = None
    return value if isinstance(value, dict) else {"input": text}


def prompt_count(usage: Usage) -> int:
    """Input tokens as OpenAI counts them: with those that came from a cache."""
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    return usage.input_tokens + cached


class Thoughts:
    """Counts how much of an answer is thinking: an estimate, since nobody counts it apart."""

    def __init__(self) -> None:
        self._tally = TokenTally()
        self._any = False

    def add(self, text: str) -> None:
        """More of it."""
        self._any = self._any or bool(text)
        self._tally.add(text)

    def count(self, usage: Usage) -> int:
        """Output tokens spent on it."""
        return min(self._tally.tokens(), usage.output_tokens) if self._any else 0
