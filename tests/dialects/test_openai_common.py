"""What both OpenAI APIs share: parts, options, counts."""

import base64
from typing import Any

import pytest
from marshmallow import Schema

from kiroproxy.conversation import Image, Text, ThinkingMode, Usage
from kiroproxy.dialects import openai_common as common
from kiroproxy.errors import InvalidRequest
from tests.dialects.test_documents import pdf

PNG = "iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"
DATA_URI = f"data:image/png;base64,{PNG}"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, []),
        ("Hi", [Text("Hi")]),
        (["a", {"type": "text", "text": "b"}], [Text("a"), Text("b")]),
        ([{"type": "input_text", "text": "a"}], [Text("a")]),
        ([{"type": "output_text", "text": "a", "annotations": []}], [Text("a")]),
        ([{"type": "refusal", "refusal": "no"}], [Text("no")]),
        ([{"type": "image_url", "image_url": {"url": DATA_URI}}], [Image(PNG, "c[0]")]),
        ([{"type": "input_image", "image_url": DATA_URI}], [Image(PNG, "c[0]")]),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}],
            [Image("", "c[0]", "https://x.example/a.png")],
        ),
        (
            [{"type": "file", "file": {"file_data": b64("é"), "filename": "a.txt"}}],
            [Text("[Document: a.txt]"), Text("é")],
        ),
        (
            [{"type": "input_file", "file_data": f"data:text/plain;base64,{b64('x')}"}],
            [Text("x")],
        ),
        ([{"type": "input_file", "file_data": DATA_URI}], [Image(PNG, "c[0]")]),
        ([{"type": "newer", "x": "é"}], [Text('[newer] {"type": "newer", "x": "é"}')]),
    ],
)
def test_parts(content: Any, wanted: list[Any]) -> None:
    assert common.parts(content, "c") == wanted


def test_a_pdf_is_read() -> None:
    data = base64.b64encode(pdf("Hello PDF")).decode()
    for given in (data, f"data:application/pdf;base64,{data}"):
        [text] = common.parts([{"type": "input_file", "file_data": given}], "c")
        assert isinstance(text, Text)
        assert "Hello PDF" in text.text


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (7, "c"),
        ([7], "c[0].type"),
        ([{"text": "x"}], "c[0].type"),
        ([{"type": "text"}], "c[0].text"),
        ([{"type": "text", "text": 7}], "c[0].text"),
        ([{"type": "image_url"}], "c[0].image_url"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}], "c[0].image_url"),
        ([{"type": "input_image", "file_id": "file_1"}], "c[0].file_id"),
        ([{"type": "file", "file": {"file_id": "file_1"}}], "c[0].file_id"),
        ([{"type": "file", "file": 7}], "c[0].file"),
        ([{"type": "input_file", "file_url": "https://x.example"}], "c[0].file_url"),
        ([{"type": "input_file", "file_data": "%%%"}], "c[0]"),
        ([{"type": "input_file", "file_data": b64("x") + "/w=="}], "c[0]"),
        ([{"type": "input_audio", "input_audio": {}}], "c[0]"),
    ],
)
def test_what_is_no_part_is_named(content: Any, where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        common.parts(content, "c")
    assert caught.value.param == where
    assert caught.value.details


def test_holds_file() -> None:
    part = {"type": "input_file", "file_data": "x"}
    assert common.holds_file([{"content": "x"}, {"content": [part]}])
    assert common.holds_file([{"output": [part]}])
    assert not common.holds_file([{"content": [{"type": "text"}, 7]}, {}])


@pytest.mark.parametrize(
    ("effort", "kind", "budget"),
    [
        (None, "disabled", 0),
        ("none", "disabled", 0),
        ("minimal", "disabled", 0),
        ("low", "enabled", 4_000),
        ("medium", "enabled", 10_000),
        ("high", "enabled", 20_000),
        ("xhigh", "enabled", 24_576),
    ],
)
def test_effort_becomes_thinking(effort: str | None, kind: Any, budget: int) -> None:
    wanted = ThinkingMode(kind, budget, effort or "") if budget else ThinkingMode()
    assert common.thinking_of(effort, "x") == wanted


def test_an_unknown_effort_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        common.thinking_of("extreme", "reasoning_effort")
    assert caught.value.param == "reasoning_effort"


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({}, None),
        ({"type": "json_object"}, {}),
        ({"type": "json_schema", "name": "x", "schema": {"a": 1}}, {"a": 1}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": 1}}}, {"a": 1}),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, {}),
    ],
)
def test_format(wanted: Any, schema: Any) -> None:
    assert common.json_schema_of(wanted, "f") == schema


@pytest.mark.parametrize("wanted", [{"type": "xml"}, {"type": "json_schema", "schema": 7}])
def test_unknown_formats(wanted: Any) -> None:
    with pytest.raises(InvalidRequest):
        common.json_schema_of(wanted, "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (" ", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ("[1]", {"input": "[1]"}),
        ('{"a', {"input": '{"a'}),
        ('{"n": 1180591620717411303424}', {"n": 2**70}),
        (7, {"input": 7}),
    ],
)
def test_arguments(text: Any, value: dict[str, Any]) -> None:
    assert common.arguments_of(text) == value


def test_prompt_count_holds_what_came_from_a_cache() -> None:
    assert common.prompt_count(Usage(10, 5)) == 10
    usage = Usage(10, 5, "upstream", cache_read_tokens=3, cache_write_tokens=2)
    assert common.prompt_count(usage) == 15


def test_thoughts_are_never_more_than_the_output() -> None:
    thoughts = common.Thoughts()
    assert thoughts.count(Usage(1, 50)) == 0
    thoughts.add("")
    assert thoughts.count(Usage(1, 50)) == 0
    thoughts.add("word " * 20)
    assert 10 < thoughts.count(Usage(1, 50)) < 50
    assert thoughts.count(Usage(1, 5)) == 5


# ---- the outer object ------------------------------------------------------------------------


class Outer(Schema):
    a = common.Objects(required=True)
    b = common.obj()
    c = common.flag()
    d = common.count()
    e = common.Typed(int, "an integer")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "a", "missing_required_parameter"),
        ({"a": [7]}, "a", "invalid_type"),
        ({"a": {}}, "a", "invalid_type"),
        ({"a": None}, "a", "invalid_type"),
        ({"a": [], "b": []}, "b", "invalid_type"),
        ({"a": [], "c": 1}, "c", "invalid_type"),
        ({"a": [], "d": 0}, "d", "invalid_type"),
        ({"a": [], "d": "7"}, "d", "invalid_type"),
        ({"a": [], "e": True}, "e", "invalid_type"),
    ],
)
def test_load_names_the_field(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        common.load(Outer(), body)
    assert caught.value.param == param
    assert caught.value.details == {"code": code}
    assert str(caught.value).startswith(f"{param}: ")


def test_load_fills_in_what_is_missing() -> None:
    assert common.load(Outer(), {"a": [{}], "b": None}) == {
        "a": [{}],
        "b": None,
        "c": None,
        "d": None,
        "e": None,
    }


def test_looking_for_images_takes_no_time() -> None:
    """A pattern that goes back and forth over white space would hold the server up for hours."""
    item = {"type": "odd", "data": PNG + " " * 1_000_000 + "!"}
    [text] = common.parts([item], "x")
    assert isinstance(text, Text)
    assert PNG in text.text
