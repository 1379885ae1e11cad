"""`/api/admin/doctor` and `/backup`."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import marshmallow as ma
from flask import Response

from kiroproxy import archive
from kiroproxy.config import Config
from kiroproxy.doctor import Patient, examine
from kiroproxy.doctor.finding import worst
from kiroproxy.errors import KiroProxyError
from kiroproxy.web.admin.api import FILE, rest, room, switch
from kiroproxy.web.admin.changes import note
from kiroproxy.web.services import services

blueprint = room("upkeep", "Looking for faults, and keeping a copy.")
CHUNK = 1 << 18
ARCHIVE = "application/gzip"


class DoctorBody(ma.Schema):
    """Whether tokens may be renewed as a test."""

    refresh = switch()


class BackupBody(ma.Schema):
    """Whether it is clear what the archive holds."""

    secrets = switch(
        required=True,
        validate=ma.validate.OneOf(
            [True], error="must be true: the archive holds every token, key and password"
        ),
    )


class FindingRow(ma.Schema):
    """What was looked at, and what to do about it."""

    check = ma.fields.String()
    state = ma.fields.String()
    message = ma.fields.String()
    remedy = ma.fields.String()


class Report(ma.Schema):
    """The whole."""

    state = ma.fields.String()
    findings = ma.fields.List(ma.fields.Nested(FindingRow))


@rest(blueprint, "POST", "/doctor", body=DoctorBody, answer=Report)
def run_doctor(body: dict[str, Any]) -> dict[str, Any]:
    """Look for what is wrong, in at most 15 seconds."""
    parts = services()
    refresh = body.get("refresh", False)
    patient = Patient(
        config=parts.config, pool=parts.pool, voice=parts.client.voice, refresh=refresh
    )
    findings = examine(patient)
    if refresh:
        note("doctor.refresh", "all credentials")
    return {"state": worst(findings), "findings": [one.as_json() for one in findings]}


@rest(blueprint, "POST", "/backup", body=BackupBody, also={ARCHIVE: FILE})
def download_backup(body: dict[str, Any]) -> Response:
    """Give configuration, credentials and databases as one archive; it contains secrets.

    It is the one answer that holds tokens, so it must be asked for in so many words.
    """
    parts = services()
    name = f"kiroproxy-backup-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz"
    place = tempfile.TemporaryDirectory(prefix="backup-", dir=parts.config.state_dir)
    path = Path(place.name) / name
    try:
        _write(parts.config, path)
        note("backup", name)
        size = path.stat().st_size
    except BaseException:
        place.cleanup()
        raise
    response = Response(_content(path), content_type=ARCHIVE)
    response.call_on_close(place.cleanup)
    response.headers["content-length"] = str(size)
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    return response


def _write(config: Config, path: Path) -> None:
    """Copy and pack beside the event loop: databases may be large.

    Raises:
        KiroProxyError: something cannot be read or written.
    """

    def work() -> KiroProxyError | None:
        try:
            archive.write_archive(config, path)
        except KiroProxyError as error:
            return error
        return None

    error = gevent.get_hub().threadpool.apply(work)
    if error is not None:
        raise error


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
