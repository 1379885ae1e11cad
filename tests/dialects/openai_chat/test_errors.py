"""The error that ends a stream of chunks."""

import json

from kiroproxy.dialects.openai_chat.errors import error_chunk
from kiroproxy.errors import Overloaded


def test_error_chunk() -> None:
    chunk = error_chunk(Overloaded("busy"))
    assert chunk.startswith(b"data: ")
    assert chunk.endswith(b"\n\n")
    assert json.loads(chunk[6:]) == {
        "error": {
            "message": "busy",
            "type": "server_error",
            "param": None,
            "code": "server_is_overloaded",
        }
    }
