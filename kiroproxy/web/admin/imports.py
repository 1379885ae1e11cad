"""`/api/admin/credentials/import`: files of other programs, first looked at, then taken in.

What comes over HTTP is content: it names no file of this machine to read or to keep in step with,
and no host for a token but those that are Kiro's or Microsoft's.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import marshmallow as ma
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from kiroproxy.credentials import imports as sources
from kiroproxy.credentials.groups import check_name
from kiroproxy.credentials.imports import Found
from kiroproxy.credentials.intake import Intake, Row, preview
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.overview import tail
from kiroproxy.credentials.policy import DEFAULT_GROUP, group_of
from kiroproxy.errors import BodyTooLarge, ConfigError, InvalidRequest
from kiroproxy.web.admin.api import count, load, read_object, rest, room, switch, text, whole, word
from kiroproxy.web.admin.changes import difference, note, note_all
from kiroproxy.web.admin.credentials import registry_of
from kiroproxy.web.admin.lines import LINES, told
from kiroproxy.web.admin.targets import check_sent
from kiroproxy.web.services import services

blueprint = room("imports", "Credentials of other programs.")
NAME_LIMIT = 100
MACHINE = "machine"
MARKS: Final = {
    "kiro-ide": {"clientIdHash"},
    "account-manager": {"credentials", "nickname"},
    "kiro2api": {"auth"},
}
"""Fields that only one program's entries have."""
NOBODY = "Neither the Kiro IDE's nor kiro-cli's sign-in is on this machine."


class Source(ma.Schema):
    """What to import."""

    content = ma.fields.String()
    source = word(MACHINE)
    group = text(100, allow_none=True)
    priority = count(allow_none=True)


class ImportBody(Source):
    """What to import, and how."""

    verify = switch()
    rows = ma.fields.List(whole(), allow_none=True)


class ImportRow(ma.Schema):
    """One entry, and what would become of it or has."""

    number = ma.fields.Integer()
    status = ma.fields.String()
    why = ma.fields.String()
    id = ma.fields.Integer()
    authMethod = ma.fields.String()
    label = ma.fields.String(allow_none=True)
    email = ma.fields.String(allow_none=True)
    group = ma.fields.String()
    priority = ma.fields.Integer()
    disabled = ma.fields.Boolean()
    tokenPreview = ma.fields.String(allow_none=True)


class Preview(ma.Schema):
    """What an import would do."""

    format = ma.fields.String()
    new = ma.fields.Integer()
    duplicate = ma.fields.Integer()
    failed = ma.fields.Integer()
    groups = ma.fields.List(ma.fields.String())
    notes = ma.fields.List(ma.fields.String())
    rows = ma.fields.List(ma.fields.Nested(ImportRow))


class ImportEnd(ma.Schema):
    """What it did."""

    added = ma.fields.Integer()
    duplicate = ma.fields.Integer()
    failed = ma.fields.Integer()
    total = ma.fields.Integer()
    groups = ma.fields.List(ma.fields.String())
    results = ma.fields.List(ma.fields.Nested(ImportRow))


def _documented(schema: type[ma.Schema]) -> dict[str, Any]:
    upload = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "properties": {
            "file": upload,
            "group": {"type": "string"},
            "priority": {"type": "integer"},
        },
    }
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"content": content, "required": True}}


@rest(
    blueprint,
    "POST",
    "/credentials/import/preview",
    answer=Preview,
    more=_documented(Source),
)
def preview_import() -> dict[str, Any]:
    """Say what an import would do with each entry; changes nothing."""
    given, kind, found = _read(Source)
    rows = _preview(given, found)
    return {
        "format": kind,
        **{
            name: sum(one.status == name for one in rows) for name in ("new", "duplicate", "failed")
        },
        "groups": _new_groups(given, found),
        "notes": [note for one in found for note in one.notes] + ([] if found else [NOBODY]),
        "rows": [build_row(one) for one in rows],
    }


@rest(
    blueprint,
    "POST",
    "/credentials/import",
    answer=ImportEnd,
    more=_documented(ImportBody),
    also=LINES,
)
def run_import() -> Any:
    """Take entries in, each verified by a refresh unless `verify` is false."""
    given, _, found = _read(ImportBody)
    rows = _preview(given, found)
    wanted = given.get("rows")
    if wanted is not None:
        rows = [one for one in rows if one.number in wanted]
    parts = services()
    registry = registry_of(parts)
    groups = _new_groups(given, found)
    if groups:
        registry.adopt_groups(one for source in found for one in source.groups)
        for name in groups:
            note("group.create", f"group {name}", None, {"name": name, "from": "import"})
    verify = given.get("verify", True)
    intake = Intake(
        parts.pool,
        registry,
        verify=verify,
        probe=parts.balances.fetch,
    )

    def results() -> Iterator[dict[str, Any]]:
        yield from (build_row(one) for one in rows if one.status != "new")
        running = intake.run([one for one in rows if one.status == "new"])
        for ended in ([row] for row in running) if verify else [list(running)]:
            note_all(
                [
                    difference("credential.import", None, row.credential)
                    for row in ended
                    if row.status == "added"
                ]
            )
            yield from (build_row(row) for row in ended)

    def summary(ended: list[dict[str, Any]]) -> dict[str, Any]:
        counts = {
            name: sum(one["status"] == name for one in ended)
            for name in ("added", "duplicate", "failed")
        }
        return counts | {"total": len(ended), "groups": groups}

    return told(results(), summary)


def build_row(row: Row) -> dict[str, Any]:
    """As JSON, without a token."""
    shown: dict[str, Any] = {"number": row.number, "status": row.status, "why": row.why}
    one = row.credential
    if one is None:
        return shown
    if row.status == "added":
        shown["id"] = one.id
    return shown | {
        "authMethod": one.auth_method,
        "label": one.label or one.name,
        "email": one.email,
        "group": group_of(one),
        "priority": one.priority,
        "disabled": one.disabled,
        "tokenPreview": tail(one.bearer or one.refresh_token),
    }


# ---- what was sent -------------------------------------------------------------------------


def _read(schema: type[ma.Schema]) -> tuple[dict[str, Any], str, list[Found]]:
    """The wishes, the format, and what the sources hold.

    Raises:
        InvalidRequest: there is no source, or it cannot be read.
    """
    if request.mimetype == "multipart/form-data":
        try:
            given, files = _read_form(schema)
        except RequestEntityTooLarge:
            raise BodyTooLarge("The upload is too large.") from None
    else:
        given, files = load(schema, read_object(request)), []
        if "content" in given:
            files = [("content", given["content"].encode())]
    if group := given.get("group"):
        given["group"] = group if group == DEFAULT_GROUP else check_name(group)
    if given.get("source") == MACHINE:
        return given, "machine", _of_this_machine()
    if not files:
        raise InvalidRequest("content: is missing; send it, or a file", param="content")
    found = [read_upload(name, data) for name, data in files]
    kinds = {format_of(data) for _, data in files}
    return given, kinds.pop() if len(kinds) == 1 else "mixed", found


def _read_form(schema: type[ma.Schema]) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    raw: dict[str, Any] = request.form.to_dict()
    words = {"true": True, "false": False}
    for key in raw.keys() & {"priority", "verify"}:
        value = raw[key].strip()
        raw[key] = words.get(value, int(value) if value.isascii() and value.isdecimal() else value)
    if "rows" in raw:
        numbers = request.form.getlist("rows")
        raw["rows"] = [int(one) for one in numbers if one.isascii() and one.isdecimal()]
    given = load(schema, raw)
    files = [(one.filename or "file", one.read()) for one in request.files.getlist("file")]
    if "content" in given:
        files.append(("content", given["content"].encode()))
    return given, files


def format_of(data: bytes) -> str:
    """Whose file it is, by what only that program writes; `json` is anybody's list."""
    if data.startswith(sources.SQLITE):
        return "kiro-cli"
    try:
        top = json.loads(data)
    except (ValueError, RecursionError):
        return "json"
    lists = [top.get(key) for key in sources.LISTS] if isinstance(top, dict) else [top]
    entries = next((one for one in lists if isinstance(one, list)), [top])
    first = next((one for one in entries if isinstance(one, dict)), {})
    return next((name for name, marks in MARKS.items() if marks & first.keys()), "json")


def read_upload(name: str, data: bytes) -> Found:
    """What a file holds that somebody has sent.

    Raises:
        InvalidRequest: it is neither JSON nor kiro-cli's database.
    """
    name = name[:NAME_LIMIT]
    try:
        if data.startswith(sources.SQLITE):
            with tempfile.TemporaryDirectory(prefix="kiroproxy-import-") as place:
                path = Path(place) / "data.sqlite3"
                path.write_bytes(data)
                return checked(sources.read_source(str(path), name))
        content = data.decode("utf-8-sig").strip()
        if not content.startswith(("[", "{")):  # else it would be taken for a path
            raise InvalidRequest(
                f"{name}: is neither JSON nor kiro-cli's database", param="content"
            )
        return checked(sources.read_source(content, name))
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}: is not UTF-8", param="content") from None
    except ConfigError as error:
        raise InvalidRequest(str(error), param="content") from None


def checked(found: Found) -> Found:
    """Without links to files of this machine, and without entries that lead tokens astray."""
    good: list[Credential] = []
    problems = list(found.problems)
    for one in found.credentials:
        try:
            good.append(replace(check_sent(one), imported_from=None))
        except InvalidRequest as error:
            problems.append(f"{one.label or one.email or tail(one.refresh_token)}: {error}")
    return replace(found, credentials=tuple(good), problems=tuple(problems))


def _of_this_machine() -> list[Found]:
    """The sign-ins of the account that runs the server."""
    found = []
    for place in (sources.IDE_PLACE, *sources.CLI_PLACES):
        if Path(place).expanduser().exists():
            try:
                found.append(sources.read_source(place, place))
            except ConfigError as error:
                found.append(Found((), (str(error),)))
    return found


def _preview(given: dict[str, Any], found: list[Found]) -> list[Row]:
    registry = registry_of(services())
    return preview(registry, found, group=given.get("group"), priority=given.get("priority"))


def _new_groups(given: dict[str, Any], found: list[Found]) -> list[str]:
    """Groups that come with the files, unless all goes into one."""
    if given.get("group"):
        return []
    known = {info.group.name for info in registry_of(services()).groups()}
    names = (group.name for one in found for group in one.groups)
    return [name for name in dict.fromkeys(names) if name not in known]
