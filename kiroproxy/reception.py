"""What meets a client before the application does: the listener's end, and gunicorn's refusals."""

import contextlib
import json
from typing import Any

from gevent.server import StreamServer
from gunicorn import util


class Place:
    """What a connection asks its listener for, which may be closed by then."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        """Where it listened."""
        return self._name


class Listener(StreamServer):  # type: ignore[misc]
    """Accepts connections; before it closes, also those that the kernel has accepted meanwhile.

    Their clients think that they are connected and have sent their requests: closed upon, they are
    reset, and nginx may not send a POST to the next host.
    """

    def close(self) -> None:
        """Stop listening."""
        if not self.closed:
            self.stop_accepting()
            with contextlib.suppress(OSError):
                while not self.full() and (connection := self.do_read()):
                    self.do_handle(*connection)
        super().close()


def plain_refusal(page: bytes, error: BaseException) -> bytes:
    """The HTTP answer in JSON instead of gunicorn's page.

    Nobody knows the dialect of a request that cannot be read; OpenAI's clients find type and
    message in Anthropic's shape, too.
    """
    status_line = page.partition(b"\r\n")[0]
    _, status, reason = status_line.decode("latin-1").split(" ", 2)
    ours = status.startswith("5")
    kind = "api_error" if ours else "invalid_request_error"
    message = reason if ours else f"{reason}: {error}"
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    head = f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return b"\r\n".join([status_line, head.encode(), b"", body])


class Refused:
    """What gunicorn writes its page to."""

    def __init__(self, client: Any, error: BaseException) -> None:
        self._client = client
        self._error = error

    def gettimeout(self) -> float:
        """Of none: gunicorn then writes straight away."""
        return 0.0

    def sendall(self, page: bytes) -> None:
        """The client gets JSON."""
        util.write_nonblock(self._client, plain_refusal(page, self._error))
