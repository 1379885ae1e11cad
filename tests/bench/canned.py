"""A very fast Kiro: precomputed event-stream bytes, chosen by the request's words.

`bench:<scene>;` in a prompt chooses: `small`, `burst` (200 frames, an HTTP chunk each, as a server
that flushes each event sends them, all in one write), `joined` (the same in one HTTP chunk),
`paced:<n>` (n frames, 20 a second, each with the time at which it was sent).

    python -m tests.bench.canned [PORT]
"""

import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer

from kiroproxy.eventstream.frame import build_event

BURST = 200
INTERVAL_S = 0.05
"""20 frames a second."""
TICK_S = 0.001
WORDS = [f"word{i} and more, " for i in range(BURST)]
SMALL = ["Hello", ", this", " is", " a small", " answer."]
STAMP = b'{"content":"@%.6f; and a word","modelId":"claude-sonnet-4.5"}'
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
TOKENS = (
    b'{"accessToken":"access-of-the-bench","refreshToken":"refresh-%s","expiresIn":3600,'
    b'"profileArn":"arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"}'
) % (b"x" * 120)


def text_frame(text: str) -> bytes:
    """A frame with one piece of text."""
    return build_event(
        "assistantResponseEvent",
        b'{"content":"%s","modelId":"claude-sonnet-4.5"}' % text.encode(),
    )


def chunk(data: bytes) -> bytes:
    """One chunk of an HTTP body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


TRAILERS = [
    build_event("contextUsageEvent", b'{"contextUsagePercentage":3.25}'),
    build_event("meteringEvent", b'{"unit":"credit","unitPlural":"credits","usage":0.0123}'),
]
END = b"".join(map(chunk, TRAILERS)) + b"0\r\n\r\n"


def whole(texts: Iterable[str], join: Callable[[bytes], bytes] = chunk) -> bytes:
    """A whole response with these texts, `join` applied to each frame."""
    return HEAD + b"".join(join(text_frame(text)) for text in texts) + END


def tool_frames() -> list[bytes]:
    """Text, then a call whose input comes in 120 fragments: as many frames as the burst has."""
    fragments = 120
    opening = b'{"name":"write","toolUseId":"tooluse_1"'
    parts = [b'{\\"text\\":\\"'] + [b"word and more, "] * (fragments - 2) + [b'\\"}']
    frames = [opening + b"}"]
    frames += [opening + b',"input":"' + part + b'"}' for part in parts]
    frames.append(opening + b',"stop":true}')
    texts = [text_frame(word) for word in WORDS[: BURST - len(frames)]]
    return texts + [build_event("toolUseEvent", frame) for frame in frames]


THOUGHTS = ["<thinking>", *WORDS[: BURST // 2], "</thinking>\n\n", *WORDS[BURST // 2 + 2 :]]

CANNED = {
    b"thinking": whole(THOUGHTS),
    b"tools": HEAD + b"".join(map(chunk, tool_frames())) + END,
    b"small": whole(SMALL),
    b"burst": whole(WORDS),
    b"joined": HEAD + chunk(b"".join(map(text_frame, WORDS))) + END,
}


class PacedStream:
    """One stream of stamped frames; `ended` is set when its last one was sent."""

    def __init__(self, client: socket.socket, frames: int, due: float) -> None:
        self.ended = Event()
        self.due = due
        self._client = client._sock  # never waits: a slow reader must not hold up the others
        self._left = frames

    def send(self, now: float) -> bool:
        """Send a frame; whether there are more."""
        try:
            self._client.send(chunk(_stamped(now)))
            self._left -= 1
            if self._left:
                return True
            self._client.send(END)
        except OSError:
            self._client.close()
        self.ended.set()
        return False


_HEADERS_END = len(text_frame("")) - len(b'{"content":"","modelId":"claude-sonnet-4.5"}') - 4
_EXAMPLE = build_event("assistantResponseEvent", STAMP % 12345.0)


def _stamped(now: float) -> bytes:
    payload = STAMP % now
    if len(payload) + _HEADERS_END + 4 != len(_EXAMPLE):  # an uptime of more or fewer digits
        return build_event("assistantResponseEvent", payload)
    body = _EXAMPLE[:_HEADERS_END] + payload
    return body + zlib.crc32(body).to_bytes(4, "big")


class Canned:
    """The server."""

    def __init__(self, port: int = 0) -> None:
        self._streams: deque[PacedStream] = deque()
        self._server = StreamServer(("127.0.0.1", port), self._serve, backlog=2048)

    def run(self) -> None:
        """Serve for ever; says on stdout where."""
        self._server.start()
        print(f"listening on http://127.0.0.1:{self._server.server_port}", flush=True)
        while True:
            self._tick()
            gevent.sleep(TICK_S)

    def _tick(self) -> None:
        """Send what is due. Streams stay in order since all have the same interval."""
        streams = self._streams
        while streams and streams[0].due <= (now := time.monotonic()):
            stream = streams.popleft()
            if stream.send(now):
                stream.due = max(stream.due, now - INTERVAL_S) + INTERVAL_S
                streams.append(stream)

    def _serve(self, client: socket.socket, address: object) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        try:
            while True:
                head, rest = _read_head(client, rest)
                if not head:
                    return
                body, rest = _read_body(client, head, rest)
                self._answer(client, head, body)
        except OSError:
            return

    def _answer(self, client: socket.socket, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST /generateAssistantResponse "):
            known = b"200 OK" if head.startswith(b"POST /refreshToken ") else b"404 Not Found"
            client.sendall(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (known, len(TOKENS), TOKENS)
            )
            return
        at = body.find(b"bench:")
        scene, _, count = body[at + 6 : body.find(b";", at)].partition(b":")
        if scene != b"paced":
            client.sendall(CANNED[scene])
            return
        client.sendall(HEAD)
        stream = PacedStream(client, int(count), time.monotonic())
        if stream.send(stream.due):
            stream.due += INTERVAL_S
            self._streams.append(stream)
        stream.ended.wait()


def _read_head(client: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _read_body(client: socket.socket, head: bytes, data: bytes) -> tuple[bytes, bytes]:
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    parts = [data]
    size = len(data)
    while size < length and (more := client.recv(262144)):
        parts.append(more)
        size += len(more)
    data = b"".join(parts)
    return data[:length], data[length:]


if __name__ == "__main__":
    Canned(int(sys.argv[1]) if len(sys.argv) > 1 else 0).run()
