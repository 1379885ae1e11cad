"""`/api/settings`: the settings that kiro2api has, as far as they mean something here.

Behind the admin key. Three of them are settings of `config.json`, which count from the next restart
or reload on, two are the `default` group's rate. The others are how this program works: they are
told, and refused if somebody wants them otherwise.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, request

from kiroproxy import config_file
from kiroproxy.config import Config, load_config
from kiroproxy.credentials.groups import parse_settings
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.credentials.registry import Registry
from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger.threads import in_thread
from kiroproxy.runtime import PIN_LIFE_S
from kiroproxy.web.admin.changes import note
from kiroproxy.web.body import read_json
from kiroproxy.web.groups import REFRESHES
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.services import Services, services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("settings", __name__, url_prefix="/api/settings")
IN_FILE: Final = {
    "request_timeout_sec": "idle_timeout_sec",
    "cooldown_sec": "cooldown_sec",
    "token_max_concurrent": "max_concurrent",
}
"""Their names → ours in `Config`."""
OF_GROUP: Final = ("rate_limit_qps", "rate_limit_burst")
FIXED: Final[dict[str, float]] = {
    "max_retries": 2,  # three attempts per credential (S107)
    "token_rate_limit_qps": 0,
    "token_rate_limit_burst": 0,
    "group_max_concurrent": 0,
    "refresh_concurrency": REFRESHES,
    "session_duration_min": PIN_LIFE_S / 60,
}
KNOWN: Final = (*OF_GROUP, *IN_FILE, *FIXED)


@blueprint.before_request
def _guard() -> None:
    admit_operator()


@blueprint.get("")
def show() -> Response:
    """All of them; `restart_required` names those of which the running server has another value."""
    parts = services()
    return json_response(in_thread(lambda: _current(parts)))


@blueprint.post("")
def change() -> Response:
    """Change those that the body names: all of them, or, if one cannot be, none."""
    parts = services()
    running = parts.config
    body = read_json(
        request, limit_bytes=running.max_body_bytes, timeout_s=running.body_timeout_sec
    )
    body.pop("restart_required", None)
    for name, value in body.items():
        _check(name, value)
    registry = Registry(parts.pool, parts.groups)
    group = registry.group(DEFAULT_GROUP).group
    rates = parse_settings({name: body[name] for name in OF_GROUP if name in body}, group.settings)
    before = in_thread(lambda: _current(parts))
    with config_file.alone(running.state_dir):
        notes = in_thread(lambda: _write(running, body))
    if rates != group.settings:
        registry.change_group(replace(group, settings=rates))
    after = in_thread(lambda: _current(parts))
    note(
        "setting.set",
        f"setting {', '.join(body)}",
        {name: before[name] for name in body},
        {name: after[name] for name in body},
    )
    return json_response(after | {"notes": notes})


def _check(name: str, value: Any) -> None:
    """Refuse what cannot be set.

    Raises:
        InvalidRequest: names it.
    """
    if name not in KNOWN:
        raise InvalidRequest(f"{name}: there is no such setting", param=name)
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not 0 <= value <= 10**9:
        raise InvalidRequest(f"{name}: must be a number", param=name)
    if name in FIXED and value != FIXED[name]:
        raise InvalidRequest(f"{name}: is always {FIXED[name]:g} here", param=name)
    if name in IN_FILE:
        try:
            config_file.parse(config_file.find(IN_FILE[name]), value)
        except InvalidRequest as error:
            reason = str(error).partition(": ")[2]
            raise InvalidRequest(f"{name}: {reason}", param=name) from None


def _paths(config: Config) -> dict[str, Path | None]:
    return {"config_path": config.config_path, "credentials_path": config.credentials_path}


def _write(running: Config, body: dict[str, Any]) -> list[str]:
    """Write what belongs into the file; what the operator should know."""
    notes = []
    for name, attribute in IN_FILE.items():
        if name not in body:
            continue
        edit = config_file.change(attribute, body[name], _paths(running))
        if edit.overridden_by:
            notes.append(f"{name}: {edit.overridden_by} precedes config.json")
        if edit.comments_lost:
            notes.append(f"{name}: the comments of config.json are lost; {edit.backup} has them")
    return notes


def _current(parts: Services) -> dict[str, Any]:
    """What counts after the next restart, and where that differs from now."""
    written = load_config(_paths(parts.config))
    own = parts.groups.settings(DEFAULT_GROUP)
    values: dict[str, Any] = {name: getattr(own, name) for name in OF_GROUP}
    values |= {name: getattr(written, attribute) for name, attribute in IN_FILE.items()}
    pending = [
        name
        for name, attribute in IN_FILE.items()
        if getattr(written, attribute) != getattr(parts.config, attribute)
    ]
    return values | FIXED | {"restart_required": pending}
