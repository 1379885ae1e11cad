"""One line of the doctor's report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

State = Literal["ok", "warning", "failure"]
STATES: Final[tuple[State, ...]] = ("ok", "warning", "failure")
"""From the best to the worst; the place is the exit code of `kiroproxy doctor`."""


def _(sentence: str) -> str:
    """Mark a sentence for the catalogue; the command line translates it when it is shown."""
    return sentence


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found out: `message` with `facts` filled in, and what to do about it.

    The sentences are templates, so that the command line can say them in the user's language.
    """

    check: str
    state: State
    message: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The message in English."""
        return self.message.format(**self.facts)

    def as_json(self) -> dict[str, str]:
        """For `--json` and the admin API."""
        remedy = self.remedy.format(**self.facts)
        return {"check": self.check, "state": self.state, "message": self.text, "remedy": remedy}


def ok(check: str, message: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, "ok", message, "", facts)


def warning(check: str, message: str, remedy: str, **facts: Any) -> Finding:
    """It works, but not as it should, or not for long."""
    return Finding(check, "warning", message, remedy, facts)


def failure(check: str, message: str, remedy: str, **facts: Any) -> Finding:
    """Requests fail because of it."""
    return Finding(check, "failure", message, remedy, facts)


def worst(findings: Iterable[Finding]) -> State:
    """The state of the whole."""
    return max((one.state for one in findings), key=STATES.index, default="ok")
