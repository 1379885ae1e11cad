"""Changing the set of credentials and groups, for people and their tools.

Each act is one edit of the store; what cannot be done says why, in words.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from kiroproxy.credentials.groups import Group, GroupBook, check_name
from kiroproxy.credentials.identity import signed_in_again
from kiroproxy.credentials.imports import token_hash
from kiroproxy.credentials.model import Credential, check_refresh_token, parse_credential
from kiroproxy.credentials.policy import DEFAULT_GROUP, group_of
from kiroproxy.credentials.pool import Pool, enabled
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound, StoreUnwritable

NEW_ENTRY: Final = "token"


class Duplicate(InvalidRequest):
    """The pool has this token already, as `existing`."""

    def __init__(self, existing: Credential) -> None:
        """Name it by its id: its token is a secret."""
        super().__init__(f"This token is already there, as #{existing.id}.")
        self.existing = existing


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group and how many credentials it has."""

    group: Group
    total: int
    active: int


def read_entry(raw: object) -> Credential:
    """A credential as people paste it.

    Raises:
        InvalidRequest: says what is wrong with it, a truncated token for example (S104).
    """
    try:
        credential = parse_credential(raw, NEW_ENTRY)
    except ConfigError as error:
        raise InvalidRequest(str(error)) from None
    if credential.refresh_token and (why := check_refresh_token(credential.refresh_token)):
        raise InvalidRequest(f"{NEW_ENTRY}.refreshToken: {why}", param="refreshToken")
    return replace(credential, id=0, imported_from=token_hash(credential))


class Registry:
    """The credentials and groups of a pool, to be changed."""

    def __init__(self, pool: Pool, groups: GroupBook) -> None:
        self._pool = pool
        self._book = groups

    # ---- credentials -----------------------------------------------------------------------

    def add(self, raw: object) -> Credential:
        """Add one; returns it with its id.

        Raises:
            InvalidRequest: it cannot be used.
            Duplicate: it is there already.
            CredentialError: the store cannot be written.
        """
        new = read_entry(raw)
        self.check_group(group_of(new))
        return self.insert(new)

    def insert(self, new: Credential) -> Credential:
        """Add a credential that was read before."""
        origin = token_hash(new)

        def change(credentials: list[Credential]) -> None:
            for one in credentials:
                if origin in (token_hash(one), one.imported_from):
                    raise Duplicate(one)
            credentials.append(new)

        return self._pool.store.edit(change).credentials[-1]

    def update(self, credential_id: int, change: Callable[[Credential], Credential]) -> Credential:
        """Change one.

        Raises:
            NotFound: there is none of that id.
        """

        def work(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                if one.id == credential_id:
                    credentials[at] = change(one)
                    return
            raise NotFound(f"There is no token {credential_id}.")

        stored = self._pool.store.edit(work).get(credential_id)
        if stored is None:
            raise NotFound(f"There is no token {credential_id}.")
        return stored

    def set_disabled(self, credential_id: int, disabled: bool) -> Credential:
        """Switch one off, or on again with everything forgotten that was wrong with it (S132)."""
        if disabled:
            return self.update(
                credential_id,
                lambda one: replace(
                    one, disabled=True, disabled_reason="Manual", disabled_until=None
                ),
            )
        stored = self.update(credential_id, enabled)
        self._pool.forget(credential_id)
        return stored

    def credentials(self) -> tuple[Credential, ...]:
        """All of them."""
        return self._pool.store.snapshot().credentials

    def credential(self, credential_id: int) -> Credential:
        """One of them.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._pool.store.snapshot().get(credential_id)
        if found is None:
            raise NotFound(f"There is no token {credential_id}.")
        return found

    def check_writable(self) -> None:
        """Make sure that a credential could be stored.

        Raises:
            StoreUnwritable: it could not; says why.
        """
        if why := self._pool.store.why_unwritable():
            raise StoreUnwritable(f"The credentials cannot be stored: {why}")

    def sign_in_again(
        self, credential_id: int, new: Credential, machine_id: str = ""
    ) -> Credential:
        """Give one the tokens of a new sign-in; what was wrong with its old ones is forgotten.

        Raises:
            NotFound: there is none of that id.
            CredentialError: the store cannot be written.
        """
        stored = self.update(credential_id, lambda one: signed_in_again(one, new, machine_id))
        self._pool.forget(credential_id)
        return stored

    def move(self, credential_id: int, group: str) -> Credential:
        """Put one into a group.

        Raises:
            NotFound: there is no such group or credential.
        """
        self.check_group(group)
        return self.update(credential_id, lambda one: replace(one, group=_stored_name(group)))

    def remove(self, credential_id: int) -> None:
        """Delete one.

        Raises:
            NotFound: there is none of that id.
        """

        def work(credentials: list[Credential]) -> list[Credential]:
            left = [one for one in credentials if one.id != credential_id]
            if len(left) == len(credentials):
                raise NotFound(f"There is no token {credential_id}.")
            return left

        self._pool.store.edit(work)
        self._pool.forget(credential_id)

    # ---- groups ----------------------------------------------------------------------------

    def groups(self) -> list[GroupInfo]:
        """All groups, `default` first."""
        created = self._book.all()
        credentials = self._pool.store.snapshot().credentials
        names = {DEFAULT_GROUP, *created, *(group_of(one) for one in credentials)}
        found = []
        for name in sorted(names, key=lambda name: (name != DEFAULT_GROUP, name)):
            own = [one for one in credentials if group_of(one) == name]
            active = sum(not one.disabled for one in own)
            found.append(GroupInfo(created.get(name, Group(name)), len(own), active))
        return found

    def group(self, name: str) -> GroupInfo:
        """One of them.

        Raises:
            NotFound: there is no such group.
        """
        for info in self.groups():
            if info.group.name == name:
                return info
        raise NotFound(f"There is no group {name}.", code="group_not_found")

    def create_group(self, group: Group) -> None:
        """Make a group.

        Raises:
            InvalidRequest: the name is reserved, or taken.
        """
        name = check_name(group.name)
        if any(info.group.name == name for info in self.groups()):
            raise InvalidRequest(f"name: there is a group {name} already", param="name")
        self._book.save([replace(group, name=name)])

    def change_group(self, group: Group) -> None:
        """Change what a group is called to people, and its settings.

        Raises:
            NotFound: there is no such group.
        """
        self.group(group.name)
        self._book.save([group])

    def rename_group(self, old: str, new: object) -> str:
        """Call a group otherwise; its credentials go with it.

        Raises:
            InvalidRequest: one of the names is reserved, the new one is taken, or the credentials
                file defines the old one.
            NotFound: there is no such group.
        """
        check_name(old)
        self._check_ours(old)
        name = check_name(new)
        info = self.group(old)
        if any(other.group.name == name for other in self.groups()):
            raise InvalidRequest(f"name: there is a group {name} already", param="new_name")
        self._book.save([replace(info.group, name=name)])
        self._move_all(old, name)
        self._book.remove(old)
        return name

    def remove_group(self, name: str) -> None:
        """Delete a group; its credentials go to `default` (S123).

        Raises:
            InvalidRequest: it is a reserved one, or the credentials file defines it.
            NotFound: there is no such group.
        """
        check_name(name)
        self._check_ours(name)
        self.group(name)
        self._move_all(name, DEFAULT_GROUP)
        self._book.remove(name)

    def _check_ours(self, name: str) -> None:
        if self._book.is_given(name):
            raise InvalidRequest(
                f"name: the credentials file defines the group {name}: change it there",
                param="name",
            )

    def _move_all(self, old: str, new: str) -> None:
        def work(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                if group_of(one) == old:
                    credentials[at] = replace(one, group=_stored_name(new))

        self._pool.store.edit(work)

    def check_group(self, name: str) -> None:
        """A credential may go into a group that exists, or make a new one of a good name.

        Raises:
            InvalidRequest: the name is not a good one.
        """
        if name != DEFAULT_GROUP and not any(one.group.name == name for one in self.groups()):
            check_name(name)


def _stored_name(group: str) -> str | None:
    """`default` is what a credential without a group belongs to."""
    return None if group == DEFAULT_GROUP else group


def settings_of(raw: dict[str, Any], name: str) -> tuple[str, Any]:
    """The display name and settings of a body."""
    shown = raw.get("display_name")
    return (shown.strip() if isinstance(shown, str) else "") or name, raw.get("settings")
