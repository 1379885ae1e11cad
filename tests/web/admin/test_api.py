"""How bodies are read and complaints are worded."""

from typing import Any

import marshmallow as ma
import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.web.admin.api import count, fault, line, load, switch, text, whole
from tests.web.admin.conftest import Desk


class Example(ma.Schema):
    number = whole()
    amount = count()
    on = switch()
    words = text(5)
    shown = line(5)
    inner = ma.fields.List(whole())


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"number": "1"}, "number"),
        ({"number": 2**60}, "number"),
        ({"number": True}, "number"),
        ({"number": 1.5}, "number"),
        ({"amount": -1}, "amount"),
        ({"on": 1}, "on"),
        ({"on": "true"}, "on"),
        ({"words": "too long"}, "words"),
        ({"inner": [1, "x"]}, "inner.1"),
        ({"shown": "a\nb"}, "shown"),
        ({"shown": "\x1b[31m"}, "shown"),
        ({"nobody": 1}, "nobody"),
    ],
)
def test_the_first_fault_is_named(raw: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(Example, raw)
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param}: ")


def test_good_values_pass() -> None:
    raw = {"number": -3, "amount": 0, "on": False, "words": "12345", "inner": []}
    assert load(Example, raw) == raw


def test_a_fault_of_the_whole() -> None:
    assert str(fault({"_schema": ["Invalid input type."]})) == "Invalid input type"
    assert fault({"_schema": ["x"]}).param is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[1]", "object"),
        (b"{", "JSON"),
        (b'{"priority": 1' + b"0" * 400 + b"}", "number"),
        (b'{"label": "\\ud800"}', ""),
        (b"\xff", "JSON"),
    ],
)
def test_bodies_that_are_none(desk: Desk, data: bytes, words: str) -> None:
    answer = desk.call("POST", "/credentials/1/priority", data=data)
    assert answer.status_code == 400
    assert words in answer.get_json()["error"]["message"]


def test_s6_whatever_content_type_says(desk: Desk) -> None:
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        answer = desk.call(
            "POST", "/credentials/1/priority", data=b'{"priority": 1}', content_type=content_type
        )
        assert answer.status_code == 200


def test_a_body_that_is_too_large(open_desk: Any) -> None:
    desk = open_desk(max_body_bytes=100)
    error = desk.refused("POST", "/credentials/1/priority", {"x": "y" * 200}, 413)
    assert error["type"] == "request_too_large"
