"""What every store of credentials can do; one contract test holds for all of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from kiroproxy.credentials.groups import Group
from kiroproxy.credentials.model import Credential

Change = Callable[[list[Credential]], list[Credential] | None]
"""Changes the list in place, or returns another. Does no IO: it runs under the store's lock."""


class Snapshot(msgspec.Struct, frozen=True):
    """The credentials at one moment, in the store's order; equal versions mean equal content.

    `problems` name, in words, entries that cannot be used and faults of the store. `groups` are
    those that are defined beside the credentials.
    """

    credentials: tuple[Credential, ...] = ()
    version: str = ""
    problems: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()

    def get(self, credential_id: int) -> Credential | None:
        """The credential of that id."""
        return next((one for one in self.credentials if one.id == credential_id), None)


class RefreshSession(Protocol):
    """One credential under its refresh lock, which all processes of the store respect."""

    current: Credential
    """As stored when the lock was got; `reread` renews it."""
    unconfirmed: bool
    """An earlier refresh of this generation broke off: its token may have been redeemed."""

    def reread(self) -> Credential:
        """Read the store again.

        Raises:
            NoCredential: it was deleted.
        """

    def reserve(self) -> None:
        """Make sure that a commit cannot fail for want of room or permission.

        Raises:
            StoreUnwritable: it would fail; nothing must be redeemed.
        """

    def intent(self) -> None:
        """Note durably that the current refresh token is about to be redeemed.

        Raises:
            StoreUnwritable: the note cannot be written; nothing must be redeemed.
        """

    def drop_intent(self) -> None:
        """The refresh token was certainly not redeemed."""

    def commit(self, new: Credential, base: Credential | None = None) -> Credential:
        """Store what differs between `base` (by default `current`) and `new`; drop the intent.

        What others changed meanwhile stays. Returns the credential as stored, its generation
        counted up; another one's, if a person has replaced the refresh token meanwhile.

        Raises:
            StoreLocked, StoreUnwritable: it is not stored; `new` must not be forgotten.
        """


class Store(Protocol):
    """Where credentials are kept."""

    def prepare(self) -> list[str]:
        """Check and repair the store at start; returns warnings for the operator.

        Raises:
            ConfigError: it cannot be used at all.
        """

    def snapshot(self) -> Snapshot:
        """The credentials, at most a second old. Needs no lock and never raises."""

    def look_again(self) -> None:
        """Let the next snapshot be as new as it can be: a person has just changed something."""

    def edit(self, change: Change) -> Snapshot:
        """Read, change and write under the short store lock.

        Raises:
            StoreLocked, StoreUnwritable: nothing was changed.
        """

    def refreshing(self, credential_id: int) -> AbstractContextManager[RefreshSession]:
        """Hold the refresh lock of a credential across re-read, HTTP call and write.

        Raises:
            StoreLocked: another process refreshes for longer than we wait.
            StoreUnwritable: the lock cannot be made.
            NoCredential: there is no such credential.
        """

    def why_unwritable(self) -> str | None:
        """Why a refresh could not be stored now, in words; None if it could. Cheap."""
