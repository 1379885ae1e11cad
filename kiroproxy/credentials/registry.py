"""Changing the set of credentials and groups, for people and their tools.

Each act is one edit of the store; what cannot be done says why, in words.
"""

from collections.abc import Callable, Iterable, Sequence
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
        raise _blamed(error) from None
    if credential.refresh_token and (why := check_refresh_token(credential.refresh_token)):
        raise InvalidRequest(f"refreshToken: {why}", param="refreshToken")
    return replace(credential, id=0, imported_from=token_hash(credential))


def _blamed(error: ConfigError) -> InvalidRequest:
    """Names the field as the body has it."""
    if error.setting == NEW_ENTRY:
        return InvalidRequest(str(error))
    why = str(error).removeprefix(f"{NEW_ENTRY}.")
    return InvalidRequest(why, param=error.setting.removeprefix(f"{NEW_ENTRY}."))


class Registry:
    """The credentials and groups of a pool, to be changed."""

    def __init__(self, pool: Pool, groups: GroupBook) -> None:
        self._pool = pool
        self._book = groups

    # ---- credentials -----------------------------------------------------------------------

    def add(
        self, raw: object, check: Callable[[Credential], Credential] = lambda one: one
    ) -> Credential:
        """Add one, as `check` lets it pass; returns it with its id.

        Raises:
            InvalidRequest: it cannot be used.
            Duplicate: it is there already.
            CredentialError: the store cannot be written.
        """
        new = check(read_entry(raw))
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

    def insert_all(self, new: Sequence[Credential]) -> list[Credential | Duplicate]:
        """Add credentials that were read before in one edit; what became of each, in order."""
        outcome: list[Credential | Duplicate] = []

        def change(credentials: list[Credential]) -> None:
            outcome.clear()
            known = {one.imported_from: one for one in credentials if one.imported_from}
            known |= {token_hash(one): one for one in credentials}
            for one in new:
                there = known.get(token_hash(one))
                outcome.append(one if there is None else Duplicate(there))
                if there is None:
                    known[token_hash(one)] = one
                    credentials.append(one)

        stored = self._pool.store.edit(change).credentials
        added = iter(stored[len(stored) - sum(isinstance(one, Credential) for one in outcome) :])
        return [next(added) if isinstance(one, Credential) else one for one in outcome]

    def change(
        self, ids: Iterable[int], change: Callable[[Credential], Credential]
    ) -> list[Credential]:
        """Change several, or none if one of them is missing.

        Raises:
            NotFound: names those that are missing.
        """
        wanted = list(dict.fromkeys(ids))

        def work(credentials: list[Credential]) -> None:
            places = _places(credentials, wanted)
            for at in places:
                credentials[at] = change(credentials[at])

        stored = self._pool.store.edit(work)
        return [one for id_ in wanted if (one := stored.get(id_)) is not None]

    def update(self, credential_id: int, change: Callable[[Credential], Credential]) -> Credential:
        """Change one.

        Raises:
            NotFound: there is none of that id.
        """
        stored = self.change([credential_id], change)
        if not stored:
            raise NotFound(f"There is no credential {credential_id}.")
        return stored[0]

    def get(self, ids: Iterable[int]) -> list[Credential]:
        """Those of these ids, as they are stored now.

        Raises:
            NotFound: names those that are missing.
        """
        stored = self.credentials()
        return [stored[at] for at in _places(stored, list(dict.fromkeys(ids)))]

    def disable(self, ids: Iterable[int]) -> list[Credential]:
        """Switch some off, until a person switches them on again (S132)."""
        return self.change(
            ids,
            lambda one: replace(one, disabled=True, disabled_reason="Manual", disabled_until=None),
        )

    def enable(self, ids: Iterable[int]) -> list[Credential]:
        """Switch some on, with everything forgotten that was wrong with them (S132)."""
        stored = self.change(ids, enabled)
        for one in stored:
            self._pool.forget(one.id)
        return stored

    def reset(self, ids: Iterable[int]) -> list[Credential]:
        """Forget failures and rests, and switch on what they switched off (S134).

        Raises:
            InvalidRequest: one of them cannot work before its configuration is mended.
        """

        def mended(one: Credential) -> Credential:
            if one.disabled and one.disabled_reason == "InvalidConfig":
                raise InvalidRequest(
                    f"#{one.id} is disabled for InvalidConfig, which a reset does not mend: "
                    "log in again, or correct its entry and enable it"
                )
            return enabled(one)

        stored = self.change(ids, mended)
        for one in stored:
            self._pool.forget(one.id)
        return stored

    def set_disabled(self, credential_id: int, disabled: bool) -> Credential:
        """Switch one off or on (S132)."""
        act = self.disable if disabled else self.enable
        return act([credential_id])[0]

    def credentials(self) -> tuple[Credential, ...]:
        """All of them."""
        return self._pool.store.snapshot().credentials

    def problems(self) -> tuple[str, ...]:
        """What of the store cannot be used."""
        return self._pool.store.snapshot().problems

    def prioritise(self, ids: Iterable[int], priority: int) -> list[Credential]:
        """Give some a priority; it counts from the next request on (S133).

        Raises:
            InvalidRequest: it is negative.
        """
        if priority < 0:
            raise InvalidRequest("priority: must be a whole number of at least 0", param="priority")
        return self.change(ids, lambda one: replace(one, priority=priority))

    def credential(self, credential_id: int) -> Credential:
        """One of them.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._pool.store.snapshot().get(credential_id)
        if found is None:
            raise NotFound(f"There is no credential {credential_id}.")
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
        return self.move_all([credential_id], group)[0]

    def move_all(self, ids: Iterable[int], group: str) -> list[Credential]:
        """Put some into a group."""
        self.check_group(group)
        return self.change(ids, lambda one: replace(one, group=_stored_name(group)))

    def remove(self, credential_id: int) -> None:
        """Delete one.

        Raises:
            NotFound: there is none of that id.
        """
        self.remove_all([credential_id], force=True)

    def remove_all(self, ids: Iterable[int], *, force: bool = False) -> list[Credential]:
        """Delete some; only those that a person could miss no longer, unless forced (S131).

        Raises:
            InvalidRequest: one of them is enabled.
            NotFound: one of them is missing.
        """
        wanted = list(dict.fromkeys(ids))
        removed: list[Credential] = []

        def work(credentials: list[Credential]) -> list[Credential]:
            removed[:] = [credentials[at] for at in _places(credentials, wanted)]
            active = [f"#{one.id}" for one in removed if not one.disabled]
            if active and not force:
                raise InvalidRequest(f"{', '.join(active)}: disable first, then remove")
            return [one for one in credentials if one.id not in wanted]

        self._pool.store.edit(work)
        for one in removed:
            self._pool.forget(one.id)
        return removed

    def adopt_groups(self, groups: Iterable[Group]) -> list[str]:
        """Make those groups of a file that are new here; returns their names."""
        known = {info.group.name for info in self.groups()}
        new = [one for one in groups if one.name not in known]
        if new:
            self._book.save(new)
        return [one.name for one in new]

    def refresh(self, credential_id: int) -> Credential:
        """Renew an access token now, also of a credential that is disabled.

        Raises:
            NotFound: there is none of that id.
            CredentialError: it was not renewed.
        """
        [one] = self.get([credential_id])
        return self._pool.renewals.force(one, one.access_token or "", anyway=True)

    def in_group(self, group: str) -> list[Credential]:
        """The credentials of a group.

        Raises:
            NotFound: there is no such group.
        """
        self.group(group)
        return [one for one in self.credentials() if group_of(one) == group]

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
        try:
            name = check_name(new)
        except InvalidRequest as error:
            error.param = "new_name"
            raise
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
            try:
                check_name(name)
            except InvalidRequest as error:
                why = str(error).removeprefix("name: ")
                raise InvalidRequest(f"group: {why}", param="group") from None


def _places(credentials: Sequence[Credential], ids: list[int]) -> list[int]:
    """Where they lie.

    Raises:
        NotFound: names those that are missing.
    """
    places = {one.id: at for at, one in enumerate(credentials)}
    if missing := [str(id_) for id_ in ids if id_ not in places]:
        raise NotFound(f"There is no credential {', '.join(missing)}.")
    return [places[id_] for id_ in ids]


def _stored_name(group: str) -> str | None:
    """`default` is what a credential without a group belongs to."""
    return None if group == DEFAULT_GROUP else group


def settings_of(raw: dict[str, Any], name: str) -> tuple[str, Any]:
    """The display name and settings of a body."""
    shown = raw.get("display_name")
    return (shown.strip() if isinstance(shown, str) else "") or name, raw.get("settings")
