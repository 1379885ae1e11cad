"""Server-sent events on the wire."""

from kiroproxy.conversation import Json
from kiroproxy.dialects.jsontext import dumps

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
"""S17."""


def named_event(name: str, data: Json) -> bytes:
    """`event: <name>` and `data: <json>`: clients do not see events without a name line (S32)."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), dumps(data))
