"""`/api/admin/settings` and `/config/load-balancing` (S140): config.json, one setting at a time."""

import dataclasses
from pathlib import Path
from typing import Any, Final, cast

import marshmallow as ma

from kiroproxy import config_file
from kiroproxy.config import SETTINGS, Config, Setting, load_config, mask, shown
from kiroproxy.config_file import Edit
from kiroproxy.credentials.policy import Mode
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound
from kiroproxy.web.admin.api import rest, room, word
from kiroproxy.web.admin.changes import note
from kiroproxy.web.admin.targets import MASKED, check_host, check_proxy_url, check_same_host
from kiroproxy.web.services import Services, services

blueprint = room("settings", "What the server was told, and what it is told next.")
ONE = "/settings/<key>"
MODES = ("priority", "balanced", "sequential")
TOKENS_GO_THERE = "it decides where tokens go: change it on the machine"
FILES_LIE_THERE = "it names places on the machine: change it there"
LOCKED: Final = {
    **dict.fromkeys(("apiUrl", "socialAuthUrl", "oidcUrl", "caBundle"), TOKENS_GO_THERE),
    **dict.fromkeys(
        ("stateDir", "databasePath", "databaseUrl", "tokenFile", "authToken"), FILES_LIE_THERE
    ),
    "allowNetworkFilesystem": FILES_LIE_THERE,
}
"""What nobody changes from afar: whoever gets the admin key shall not get the tokens, too."""
SECRET_OF: Final = {"proxyUrl": "proxyPassword", "countTokensApiUrl": "countTokensApiKey"}
"""Addresses, and what is sent to them."""
BY_KEY: Final = {row.key: row for row in SETTINGS}
TYPES: Final = {int: "integer", float: "number", bool: "boolean"}
FIELD_TYPES: Final = {one.name: one.type for one in dataclasses.fields(Config)}


class SettingRow(ma.Schema):
    """A setting."""

    key = ma.fields.String()
    value = ma.fields.Raw()
    origin = ma.fields.String()
    default = ma.fields.String()
    help = ma.fields.String()
    type = ma.fields.String()
    choices = ma.fields.List(ma.fields.String())
    minimum = ma.fields.Float()
    maximum = ma.fields.Float()
    secret = ma.fields.Boolean()
    editable = ma.fields.Boolean()
    why = ma.fields.String()
    restartNeeded = ma.fields.Boolean()


class SettingList(ma.Schema):
    """All settings."""

    path = ma.fields.String()
    restartNeeded = ma.fields.List(ma.fields.String())
    settings = ma.fields.List(ma.fields.Nested(SettingRow))


class Value(ma.Schema):
    """What it is to be."""

    value = ma.fields.Raw(required=True, allow_none=False)


class Changed(SettingRow):
    """A setting after a change."""

    changed = ma.fields.Boolean()
    backup = ma.fields.String(allow_none=True)
    commentsLost = ma.fields.Boolean()
    overriddenBy = ma.fields.String()


class ModeBody(ma.Schema):
    """How a credential is chosen."""

    mode = word(*MODES, required=True)


class ModeRow(ma.Schema):
    """How a credential is chosen."""

    mode = ma.fields.String()


@rest(blueprint, "GET", "/settings", answer=SettingList)
def list_settings() -> dict[str, Any]:
    """List the settings as config.json has them now."""
    parts = services()
    fresh = load_config(paths_of(parts))
    found = [build_setting(parts, fresh, row) for row in SETTINGS]
    return {
        "path": str(fresh.config_path),
        "restartNeeded": [one["key"] for one in found if one["restartNeeded"]],
        "settings": found,
    }


@rest(blueprint, "GET", ONE, answer=SettingRow)
def show_setting(key: str) -> dict[str, Any]:
    """Show one."""
    parts = services()
    return build_setting(parts, load_config(paths_of(parts)), _find(key))


@rest(blueprint, "PUT", ONE, body=Value, answer=Changed)
def set_setting(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Set one in config.json; what the server would not start with is refused."""
    row = _unlocked(key)
    value = body["value"]
    if isinstance(value, str) and not value.strip():
        raise InvalidRequest(f"{row.key}: is empty; delete the setting instead", param="value")
    return _changed(row, _checked(row, value))


@rest(blueprint, "DELETE", ONE, answer=Changed)
def unset_setting(key: str) -> dict[str, Any]:
    """Take one out of config.json, so that its default counts."""
    return _changed(_unlocked(key), None)


@rest(blueprint, "GET", "/config/load-balancing", answer=ModeRow)
def show_mode() -> dict[str, Any]:
    """Show how credentials are chosen."""
    return {"mode": services().pool.mode}


@rest(blueprint, "PUT", "/config/load-balancing", body=ModeBody, answer=ModeRow)
def set_mode(body: dict[str, Any]) -> dict[str, Any]:
    """Choose credentials otherwise, at once and from now on."""
    parts = services()
    before, mode = parts.pool.mode, body["mode"]
    _edit(config_file.find("loadBalancingMode"), mode)
    parts.pool.set_mode(cast(Mode, mode))
    note("setting.set", "setting loadBalancingMode", {"value": before}, {"value": mode})
    return {"mode": parts.pool.mode}


def paths_of(parts: Services) -> dict[str, Path | None]:
    """Where this server's files lie."""
    config = parts.config
    return {"config_path": config.config_path, "credentials_path": config.credentials_path}


def build_setting(parts: Services, fresh: Config, row: Setting) -> dict[str, Any]:
    """A setting as a form needs it; `fresh` is what the server would start with now."""
    value = getattr(fresh, row.attribute)
    running = getattr(parts.config, row.attribute)
    if row.key == "loadBalancingMode":
        running = parts.pool.mode
    facts = {key: fact for key, fact in row.facts.items() if fact is not None}
    why = {"why": LOCKED[row.key]} if row.key in LOCKED else {}
    return {
        "key": row.key,
        "value": row.show(shown(value)) if row.show else _plain(value),
        "origin": fresh.origins[row.attribute],
        "default": row.default,
        "help": row.help,
        "type": type_of(row),
        "secret": row.show is mask,
        "editable": not why,
        # a state directory that could not be written was replaced when the server started
        "restartNeeded": value != running and row.key != "stateDir",
        **facts,
        **why,
    }


def type_of(row: Setting) -> str:
    """Which kind of value it has, for a form."""
    if "choices" in row.facts:
        return "choice"
    kind: Any = FIELD_TYPES[row.attribute]
    origin = getattr(kind, "__origin__", kind)
    return {tuple: "list", dict: "map"}.get(origin) or TYPES.get(kind, "text")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _find(key: str) -> Setting:
    try:
        return config_file.find(key)
    except InvalidRequest:
        raise NotFound(f"There is no setting {key}.") from None


def _unlocked(key: str) -> Setting:
    row = _find(key)
    if row.key in LOCKED:
        raise InvalidRequest(f"{row.key}: {LOCKED[row.key]}", param=row.key)
    return row


def _checked(row: Setting, value: Any) -> Any:
    """The value, if it may be set from afar.

    Raises:
        InvalidRequest: it may not.
    """
    masked = value.startswith("***") or MASKED in value if isinstance(value, str) else False
    if row.show is not None and masked:
        raise InvalidRequest(f"{row.key}: this is the masked value, not a secret", param="value")
    config_file.parse(row, value)
    if row.key == "proxyUrl":
        value = check_proxy_url(value)
    if row.key == "countTokensApiUrl":
        check_host(value, row.key)
    if row.key == "host" and value.lower().startswith("unix:"):
        raise InvalidRequest(f"{row.key}: a socket names a place on the machine", param="value")
    if row.key in SECRET_OF:
        fresh = load_config(paths_of(services()))
        secret = BY_KEY[SECRET_OF[row.key]]
        if getattr(fresh, secret.attribute):
            check_same_host(row.key, getattr(fresh, row.attribute), value, secret.key)
    return value


def _changed(row: Setting, value: Any) -> dict[str, Any]:
    parts = services()
    before = getattr(load_config(paths_of(parts)), row.attribute)
    edit = _edit(row, value)
    after = getattr(edit.config, row.attribute)
    if edit.changed:
        act = "setting.unset" if value is None else "setting.set"
        note(act, f"setting {row.key}", _told(row, before), _told(row, after))
    return build_setting(parts, edit.config, row) | {
        "changed": edit.changed,
        "backup": str(edit.backup) if edit.backup else None,
        "commentsLost": edit.comments_lost,
        "overriddenBy": edit.overridden_by,
    }


def _told(row: Setting, value: Any) -> dict[str, Any]:
    return {"value": row.show(shown(value)) if row.show else _plain(value)}


def _edit(row: Setting, value: Any) -> Edit:
    """Change the file.

    Raises:
        InvalidRequest: the server would not start with it.
        ConfigError: the file cannot be read or written.
    """
    parts = services()
    with config_file.alone(parts.config.state_dir):
        try:
            return config_file.change(row.key, value, paths_of(parts))
        except ConfigError as error:
            if not config_file.is_setting(error.setting):
                raise
            text = f"The server would not start with that: {error}"
            raise InvalidRequest(text, param="value") from None
