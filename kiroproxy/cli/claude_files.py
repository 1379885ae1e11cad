"""Changing a few keys of Claude Code's own files, and taking that back (S155).

`~/.claude.json` holds years of a person's history and Claude Code writes it all the time. So an
undo puts back our keys and nothing else; where nothing else has changed, the file gets its old
bytes. The backup is made by the first change and stays until the undo.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from kiroproxy.cli.base import write_private
from kiroproxy.cli.texts import translated as _

Keys = tuple[str, ...]
"""Where a value lies: keys from the outermost on."""

ONBOARDED: Final[Mapping[Keys, Any]] = {("hasCompletedOnboarding",): True, ("kiro2api",): True}


def environment(base_url: str, key: str) -> dict[Keys, Any]:
    """What Claude Code's settings need for a proxy."""
    return {("env", "ANTHROPIC_BASE_URL"): base_url, ("env", "ANTHROPIC_AUTH_TOKEN"): key}


# ---- documents -----------------------------------------------------------------------------


def patched(document: Mapping[str, Any], patch: Mapping[Keys, Any]) -> dict[str, Any]:
    """The document with other values; what is not named stays as it is.

    Raises:
        ValueError: names a key that should hold an object and does not.
    """
    result = dict(document)
    for keys, value in patch.items():
        place = result
        for key in keys[:-1]:
            inner = place.get(key, {})
            if not isinstance(inner, dict):
                raise ValueError(key)
            place[key] = place = dict(inner)
        place[keys[-1]] = value
    return result


def restored(
    document: Mapping[str, Any], before: Mapping[str, Any], paths: Iterable[Keys]
) -> dict[str, Any]:
    """The document with the values that `before` has at these places."""
    result = dict(document)
    for keys in paths:
        _restore(result, before, keys)
    return result


def _restore(place: dict[str, Any], before: Any, keys: Keys) -> None:
    """One value, in place; an object that we made and that is empty now goes, too."""
    key, deeper = keys[0], keys[1:]
    known = isinstance(before, dict) and key in before
    if not deeper:
        if known:
            place[key] = before[key]
        else:
            place.pop(key, None)
    elif isinstance(place.get(key), dict):
        place[key] = dict(place[key])
        _restore(place[key], before[key] if known else {}, deeper)
        if not place[key] and not known:
            del place[key]


def read_document(text: str) -> dict[str, Any]:
    """Parse a file of Claude Code; an empty one is an empty object.

    Raises:
        ValueError: it is not one JSON object, or holds numbers that could not be written back.
    """
    document = json.loads(text) if text.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("not an object")
    write_document(document)
    return document


def write_document(document: Mapping[str, Any]) -> str:
    """Two spaces; letters as they are, lone surrogates as escapes."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()


# ---- files ---------------------------------------------------------------------------------


def backup_of(path: Path) -> Path:
    """Where the file's old content is kept."""
    return path.with_name(f"{path.name}.bak")


def _load(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and content; both empty if there is no such file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return text, read_document(text)
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        message = _("{path} cannot be read: {why}").format(path=path, why=error.strerror)
    except (ValueError, RecursionError):
        message = _("{path} is not a JSON object; nothing was changed").format(path=path)
    raise click.ClickException(message)


class Plan:
    """One change of one file: checked when made, done by `carry_out`."""

    def __init__(self, path: Path, patch: Mapping[Keys, Any]) -> None:
        self.path = path
        self._existed = path.exists()
        self._text, document = _load(path)
        try:
            wanted = patched(document, patch)
        except ValueError as error:
            message = _("{path}: {key} is not an object; nothing was changed")
            raise click.ClickException(message.format(path=path, key=error)) from None
        self._new = write_document(wanted)
        self.needed = self._new != write_document(document)

    def carry_out(self) -> bool:
        """Keep a backup and write; False if all is there already."""
        if not self.needed:
            return False
        backup = backup_of(self.path)
        if not _is_backup(backup):
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                message = _("{path} cannot be written: {why}")
                raise click.ClickException(
                    message.format(path=self.path, why=error.strerror)
                ) from error
            _write(backup, self._text if self._existed else "")
        _write(self.path, self._new)
        return True


def _is_backup(path: Path) -> bool:
    """Whether an earlier change has left one."""
    try:
        read_document(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def undo(path: Path, paths: Iterable[Keys]) -> bool:
    """Take a change back; False if there is none. A file that we made goes, if nothing was added.

    Raises:
        click.ClickException: one of the files cannot be read or written; nothing was changed.
    """
    backup = backup_of(path)
    if not backup.exists():
        return False
    old_text, before = _load(backup)
    text, document = _load(path)
    result = restored(document, before, paths)
    if not old_text.strip() and not result:
        path.unlink(missing_ok=True)
    elif text:
        same = write_document(result) == write_document(before)
        _write(path, old_text if same else write_document(result))
    backup.unlink()
    return True


def _write(path: Path, text: str) -> None:
    """Replace the file, or what a link in its place points to."""
    write_private(Path(os.path.realpath(path)), text)
