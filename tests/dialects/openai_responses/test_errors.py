"""The error that ends a stream, in both of its forms."""

from kiroproxy.dialects.openai_responses.errors import error_fields, response_error
from kiroproxy.errors import InvalidRequest, Overloaded


def test_error_event_is_nested_and_flat() -> None:
    inner = {
        "message": "busy",
        "type": "server_error",
        "param": None,
        "code": "server_is_overloaded",
    }
    assert error_fields(Overloaded("busy")) == {
        "error": inner,
        "code": "server_is_overloaded",
        "message": "busy",
        "param": None,
    }


def test_a_failed_response_always_has_a_code() -> None:
    assert response_error(Overloaded("busy")) == {
        "code": "server_is_overloaded",
        "message": "busy",
    }
    assert response_error(InvalidRequest("x"))["code"] == "server_error"
