"""Named places of the refresh protocol at which a test may stop the process.

Production code passes `no_failpoint`; a test passes a function of its own to the constructors of
`FileStore` and `Pool`. Nothing here reads the environment.

Source: design 5, "Refreshing a rotating token".
"""

from collections.abc import Callable
from typing import Final

AFTER_LOCK: Final = "after lock"
AFTER_RESERVE: Final = "after reserve"
AFTER_INTENT: Final = "after intent"
AFTER_ANSWER: Final = "after answer"
AFTER_TEMP_WRITE: Final = "after temp write"
AFTER_RENAME: Final = "after rename"

ALL: Final = (
    AFTER_LOCK,
    AFTER_RESERVE,
    AFTER_INTENT,
    AFTER_ANSWER,
    AFTER_TEMP_WRITE,
    AFTER_RENAME,
)
"""In the order in which a refresh passes them."""

Failpoint = Callable[[str], None]


def no_failpoint(name: str) -> None:
    """Go on."""
