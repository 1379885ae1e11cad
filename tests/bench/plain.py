"""The proxy without client keys and ledger, to see what those cost.

python -m gunicorn -c gunicorn.conf.py tests.bench.plain:app
"""

from typing import Any

from kiroproxy import serving
from kiroproxy.ledger.usage import Counts


class Entrance:
    """Lets everyone pass."""

    passage = None

    def next_gate(self) -> None:
        return None

    requests = streams = output_tokens = next_gate

    def warnings(self) -> list[str]:
        return []

    def leave(self, output_tokens: int = 0, credits: float = 0.0) -> None:
        pass

    def settle(self) -> None:
        pass

    look = settle


class Usage:
    counts = Counts()

    def record(self, row: Any) -> None:
        pass


class Limits:
    def entrance(self, key: Any, group: str) -> Entrance:
        return Entrance()


class Ledger:
    """Knows nothing, writes nothing."""

    limits = Limits()
    keys = None
    """The benchmark shows the root key, before which no other is looked for."""
    usage = Usage()

    def start(self) -> None:
        pass

    housekeep = close = start

    def problems(self) -> list[str]:
        return []


app = serving.application()
app.extensions["kiroproxy"].ledger = Ledger()
