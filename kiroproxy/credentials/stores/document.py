"""The credentials file as bytes ↔ credentials (pure): its shape and unknown keys survive.

One object, an array, or an object that holds the array under `credentials` or `tokens`.
Entries that cannot be used are named in `problems` and written back as they were.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kiroproxy.credentials.model import Credential, build_credential, parse_credential
from kiroproxy.errors import ConfigError

SINGLE: Final = "single"
ARRAY: Final = "array"
WRAPPERS: Final = ("credentials", "tokens")


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of the file; `credential` is None if it cannot be used."""

    raw: Any = field(repr=False)
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. `shape` is `single`, `array` or a wrapper's key, `top` the wrapper's object.

    `settled` means that every credential has its id in the file.
    """

    shape: str = ARRAY
    top: Mapping[str, Any] = field(default_factory=dict, repr=False)
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()
    settled: bool = True

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


def parse_document(data: bytes) -> Document:
    """Read a credentials file; an empty one holds none (S97).

    Raises:
        ConfigError: it is not JSON, or not an object or array.
    """
    try:
        text = data.decode("utf-8-sig")
        if not text.strip():
            return Document()
        top = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
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
    parsed: list[tuple[Any, Credential | None]] = []
    problems = []
    for index, raw in enumerate(raws):
        where = "credentials" if shape == SINGLE else f"credentials[{index}]"
        try:
            parsed.append((raw, parse_credential(raw, where)))
        except ConfigError as error:
            problems.append(str(error))
            parsed.append((raw, None))
    entries = _number(parsed)
    settled = all(raw.get("id") == one.id for raw, one in _pairs(entries))
    return Document(shape, top, entries, tuple(problems), settled)


def _pairs(entries: Iterable[Entry]) -> list[tuple[dict[str, Any], Credential]]:
    return [(one.raw, one.credential) for one in entries if one.credential is not None]


def _number(parsed: list[tuple[Any, Credential | None]]) -> tuple[Entry, ...]:
    """Give ids to those without: above all others, in order, so that each process agrees."""
    highest = max((one.id for _, one in parsed if one is not None), default=0)
    seen: set[int] = set()
    entries = []
    for raw, credential in parsed:
        if credential is not None:
            if credential.id == 0 or credential.id in seen:
                highest += 1
                credential = replace(credential, id=highest)
            seen.add(credential.id)
        entries.append(Entry(raw, credential))
    return tuple(entries)


def build_document(document: Document, credentials: Iterable[Credential]) -> bytes:
    """The file with these credentials: changed ones in their places, new ones at the end."""
    left = {one.id: one for one in credentials if one.id}
    entries: list[Any] = []
    for entry in document.entries:
        if entry.credential is None:
            entries.append(entry.raw)
        elif (new := left.pop(entry.credential.id, None)) is not None:
            entries.append(build_credential(new, entry.raw, entry.credential))
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
