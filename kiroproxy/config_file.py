"""Changing config.json: one setting at a time, and never into something the server cannot use."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiroproxy.config import (
    SETTINGS,
    Config,
    Setting,
    load_config,
    read_document,
    require_client_key,
)
from kiroproxy.credentials.imports import read_auth_token
from kiroproxy.credentials.stores import durable
from kiroproxy.errors import ConfigError, InvalidRequest, StoreLocked, StoreUnwritable

LOCK_S = 5.0
OUTSIDE = ("command line", "environment", ".env")
"""Where origins begin that precede the file."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of an edit: the setting as it counts now, and what the operator should know."""

    row: Setting
    changed: bool
    config: Config
    backup: Path | None
    comments_lost: bool

    @property
    def overridden_by(self) -> str:
        """What keeps the file's value from counting; empty if nothing does."""
        origin = self.config.origins[self.row.attribute]
        return origin if origin.startswith(OUTSIDE) else ""


@contextlib.contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Let one worker at a time read, change and write the file.

    Raises:
        StoreLocked: somebody else takes too long.
    """
    import filelock

    try:
        with filelock.FileLock(state_dir / "config.lock", timeout=LOCK_S):
            yield
    except filelock.Timeout:
        raise StoreLocked("Somebody else is changing the configuration; try again.") from None


def find(key: str) -> Setting:
    """The setting of a key, in any case, or by one of its other names.

    Raises:
        InvalidRequest: there is none.
    """
    wanted = key.strip().lower()
    for row in SETTINGS:
        names = (row.key, row.attribute, *row.aliases, *row.environment)
        if wanted in (name.lower() for name in names):
            return row
    raise InvalidRequest(f"there is no setting {key}", param="key")


def parse(row: Setting, given: Any) -> Any:
    """The JSON value of a setting.

    Raises:
        InvalidRequest: it cannot be used.
    """
    try:
        value = row.parse(given)
    except ValueError as error:
        raise InvalidRequest(f"{row.key}: {error}", param=row.key) from None
    if value == "" and given != "":
        raise InvalidRequest(f"{row.key}: {row.help}", param=row.key)
    return list(value) if isinstance(value, tuple) else value


def change(key: str, value: Any | None, paths: Mapping[str, Path | None]) -> Edit:
    """Set a setting in the file, or take it out (None); unknown keys stay.

    `paths` say where the files lie, as the command line gave them. The old file is kept as
    `.bak`; the new one is private and whole at every moment.

    Raises:
        InvalidRequest: there is no such setting, or the value cannot be used.
        ConfigError: the file cannot be read or written, or the server would not start with it.
    """
    row = find(key)
    path = _file(paths)
    before = read_document(path)
    after = {name: old for name, old in before.items() if name not in row.aliases}
    if value is None:
        after.pop(row.key, None)
    else:
        after[row.key] = parse(row, value)
    config = _accepted(row, before, after, paths)
    if after == before:
        return Edit(row, False, config, None, False)
    lost = _has_comments(path)
    return Edit(row, True, config, _replace(path, after), lost)


def _file(paths: Mapping[str, Path | None]) -> Path:
    """Where the configuration lies, also if what is in it cannot be used."""
    return load_config(paths, document={}).config_path


def _accepted(
    row: Setting,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    paths: Mapping[str, Path | None],
) -> Config:
    """The configuration with the change.

    One that was broken already is mended one setting at a time: then only this one must be good.

    Raises:
        ConfigError: the change breaks it.
    """
    fault = why_not(after, paths)
    if fault is not None and (is_setting(fault.setting, row) or why_not(before, paths) is None):
        raise fault
    return load_config(paths, document={} if fault else after)


def is_setting(name: str, row: Setting | None = None) -> bool:
    """Whether a name means a setting, or that one."""
    try:
        found = find(name)
    except InvalidRequest:
        return False
    return row is None or found.key == row.key


def why_not(document: Mapping[str, Any], paths: Mapping[str, Path | None]) -> ConfigError | None:
    """Why the server would not start with a configuration file of that content."""
    try:
        config = load_config(paths, document=document)
        require_client_key(config)
        if config.auth_token:
            read_auth_token(config.auth_token)
    except ConfigError as error:
        return error
    return None


def _has_comments(path: Path) -> bool:
    """Whether the file is more than JSON, which a rewrite loses."""
    try:
        json.loads(path.read_text("utf-8-sig") or "{}")
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _replace(path: Path, document: Mapping[str, Any]) -> Path | None:
    backup = path.with_name(f"{path.name}.bak")
    data = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = path.read_bytes() if path.exists() else None
        if old is not None:
            durable.write_private(backup, old)
        durable.write_private(path.resolve(), data)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from error
    except StoreUnwritable as error:
        raise ConfigError(str(path), str(error)) from error
    return backup if old is not None else None
