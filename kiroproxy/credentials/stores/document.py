"""The credentials file as bytes ↔ credentials (pure): its shape and unknown keys survive.

One object, an array, or an object that holds the array under `credentials` or `tokens`, perhaps
with `groups` and a `default_group`, as kiro2api has them (S121).
Entries that cannot be used are named in `problems` and written back as they were.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kiroproxy.credentials.groups import Group, parse_groups
from kiroproxy.credentials.model import (
    Credential,
    build_credential,
    parse_stored,
    unknown_endpoint,
)
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.errors import ConfigError

SINGLE: Final = "single"
ARRAY: Final = "array"
WRAPPERS: Final = ("credentials", "tokens")
_STRING: Final = r'("(?:[^"\\]|\\.)*")'
_COMMENT: Final = re.compile(_STRING + r"|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA: Final = re.compile(_STRING + r"|,(?=\s*[\]}])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of the file; `credential` is None if it cannot be used.

    `written` is what the file says, where `credential` counts as disabled all the same.
    """

    raw: Any = field(repr=False)
    credential: Credential | None
    written: Credential | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. `shape` is `single`, `array` or a wrapper's key, `top` the wrapper's object.

    `settled` means that every credential has its id in the file. `default_group` is that of the
    credentials which do not name one.
    """

    shape: str = ARRAY
    top: Mapping[str, Any] = field(default_factory=dict, repr=False)
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    settled: bool = True
    groups: tuple[Group, ...] = ()
    default_group: str = DEFAULT_GROUP

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The usable ones, in the file's order."""
        return tuple(one.credential for one in self.entries if one.credential is not None)

    @property
    def generation(self) -> int:
        """Of two documents of one store, that with the greater sum is the newer."""
        return sum(one.generation for one in self.credentials)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it would be written back as `Infinity`
        raise ValueError(f"{text} is out of range")
    return number


def parse_json(text: str) -> Any:
    """JSON, also with the comments and trailing commas of files that people write (X11).

    Raises:
        ValueError, RecursionError: says why it is none.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except ValueError:
        # json5, which reads config.json, takes a second for 60 kB: a worker's streams would wait
        plain = _LAST_COMMA.sub(_strings_only, _COMMENT.sub(_strings_only, text))
        if plain == text:
            raise
    return json.loads(plain, parse_constant=_no_constant, parse_float=_finite)


def _strings_only(found: re.Match[str]) -> str:
    return found[1] or " "


def parse_document(data: bytes) -> Document:
    """Read a credentials file; an empty one holds none (S97).

    Raises:
        ConfigError: it is not JSON, or not an object or array.
    """
    try:
        text = data.decode("utf-8-sig")
        if not text.strip():
            return Document()
        top = parse_json(text)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise ConfigError("credentials", f"the file is not JSON: {error}") from error
    if isinstance(top, list):
        return _parse_entries(ARRAY, {}, top)
    if not isinstance(top, dict):
        raise ConfigError("credentials", "the file holds neither an object nor an array")
    for key in WRAPPERS:
        if isinstance(top.get(key), list):
            return _parse_entries(key, top, top[key])
    return _parse_entries(SINGLE, {}, [top]) if top else Document()


def _parse_entries(shape: str, top: Mapping[str, Any], raws: list[Any]) -> Document:
    default_group = own_group(top)
    groups, problems = _parse_groups(top)
    parsed = []
    for index, raw in enumerate(raws):
        where = "credentials" if shape == SINGLE else f"credentials[{index}]"
        try:
            entry, problem = _parse_entry(raw, where, default_group)
        except ConfigError as error:
            entry, problem = Entry(raw, None), str(error)
        parsed.append(entry)
        problems += [problem] if problem else []
    entries = _number(parsed)
    problems += _shared_tokens(entries)
    settled = all(raw.get("id") == one.id for raw, one in _pairs(entries))
    return Document(shape, top, entries, tuple(problems), settled, groups, default_group)


def _shared_tokens(entries: Iterable[Entry]) -> list[str]:
    """Credentials that were copied by hand: whoever renews the token takes it from the other."""
    first: dict[str, int] = {}
    problems = []
    for one in (entry.credential for entry in entries):
        if one is None or one.refresh_token is None:
            continue
        other = first.setdefault(one.refresh_token, one.id)
        if other != one.id:
            problems.append(
                f"#{one.id} has the same refresh token as #{other}, and one of them will lose it: "
                "remove one"
            )
    return problems


def own_group(top: Mapping[str, Any]) -> str:
    """The group of the credentials that do not name one (S121)."""
    name = top.get("default_group")
    return (name.strip() if isinstance(name, str) else "") or DEFAULT_GROUP


def _parse_groups(top: Mapping[str, Any]) -> tuple[tuple[Group, ...], list[str]]:
    """The groups that a file defines, and what cannot be one."""
    raw = top.get("groups")
    if raw is None:
        return (), []
    if not isinstance(raw, dict):
        return (), ["groups: is not an object"]
    groups = tuple(parse_groups(raw))
    unknown = raw.keys() - {one.name for one in groups}
    return groups, [f"groups.{name}: its name or its settings cannot be used" for name in unknown]


def _parse_entry(raw: Any, where: str, group: str) -> tuple[Entry, str]:
    """An entry, and what is wrong with it.

    Raises:
        ConfigError: it is no credential at all.
    """
    written = parse_stored(raw, where)
    if group != DEFAULT_GROUP and written.group is None:
        written = replace(written, group=group)
    if why := unknown_endpoint(written):
        off = replace(written, disabled=True, disabled_reason="InvalidConfig", disabled_until=None)
        return Entry(raw, off, written), f"{where}.endpoint: {why}"
    return Entry(raw, written), ""


def _pairs(entries: Iterable[Entry]) -> list[tuple[dict[str, Any], Credential]]:
    return [(one.raw, one.credential) for one in entries if one.credential is not None]


def _number(parsed: list[Entry]) -> tuple[Entry, ...]:
    """Give ids to those without: above all others, in order, so that each process agrees."""
    highest = max((one.credential.id for one in parsed if one.credential is not None), default=0)
    seen: set[int] = set()
    entries = []
    for entry in parsed:
        credential = entry.credential
        if credential is not None:
            if credential.id == 0 or credential.id in seen:
                highest += 1
                entry = replace(entry, credential=replace(credential, id=highest))
                credential = entry.credential
            assert credential is not None  # noqa: S101 - for mypy
            seen.add(credential.id)
        entries.append(entry)
    return tuple(entries)


def build_document(document: Document, credentials: Iterable[Credential]) -> bytes:
    """The file with these credentials: changed ones in their places, new ones at the end."""
    left = {one.id: _grouped(one, document.default_group) for one in credentials if one.id}
    entries: list[Any] = []
    for entry in document.entries:
        if entry.credential is None:
            entries.append(entry.raw)
        elif (new := left.pop(entry.credential.id, None)) is not None:
            written = entry.written or entry.credential
            entries.append(build_credential(_as_written(new, entry), entry.raw, written))
    entries += [build_credential(new) for new in left.values()]
    top: object = entries
    if document.shape == SINGLE and len(entries) == 1:
        top = entries[0]
    elif document.shape in WRAPPERS:
        top = {**document.top, document.shape: entries}
    try:
        return json.dumps(top, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate in some unknown key
        return json.dumps(top, indent=2).encode() + b"\n"


def _grouped(credential: Credential, default_group: str) -> Credential:
    """Where "no group" means another than `default`, that one has to be named."""
    if default_group == DEFAULT_GROUP or credential.group is not None:
        return credential
    return replace(credential, group=DEFAULT_GROUP)


def _as_written(new: Credential, entry: Entry) -> Credential:
    """Without what only counts here: what its entry lacks is not a person's wish."""
    old, written = entry.credential, entry.written
    if old is None or written is None or new.disabled_reason != old.disabled_reason:
        return new
    return replace(
        new,
        disabled=written.disabled,
        disabled_reason=written.disabled_reason,
        disabled_until=written.disabled_until,
    )


def with_ids(credentials: Iterable[Credential]) -> list[Credential]:
    """Give ids to new credentials (id 0), above all others."""
    credentials = list(credentials)
    highest = max((one.id for one in credentials), default=0)
    numbered = []
    for one in credentials:
        if one.id == 0:
            highest += 1
            one = replace(one, id=highest)
        numbered.append(one)
    return numbered
