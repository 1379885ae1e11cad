"""What the pool has counted, without knowing by whom: the command line counts nothing."""

from typing import Protocol


class Counts(Protocol):
    """Takes note of what happens to credentials; reasons are few and fixed words."""

    def attempt(self, outcome: str) -> None:
        """A call for a client's request has ended."""

    def cooldown(self, reason: str) -> None:
        """A credential has to rest."""

    def disabled(self, reason: str) -> None:
        """A credential is switched off."""

    def refreshed(self, result: str) -> None:
        """A refresh has ended: ok, refused, failed, unconfirmed or unsaved."""


class NoCounts:
    """Counts nothing."""

    def attempt(self, outcome: str) -> None:
        """Nothing."""

    def cooldown(self, reason: str) -> None:
        """Nothing."""

    def disabled(self, reason: str) -> None:
        """Nothing."""

    def refreshed(self, result: str) -> None:
        """Nothing."""
