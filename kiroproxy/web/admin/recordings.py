"""`/api/admin/recordings`: failed exchanges that the flight recorder has kept."""

from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import marshmallow as ma
from flask import Response

from kiroproxy.errors import KiroProxyError
from kiroproxy.recording.folder import NAME, Folder, read, row_of
from kiroproxy.web.admin.api import Done, done, rest, room
from kiroproxy.web.admin.changes import note
from kiroproxy.web.services import services

blueprint = room("recordings", "Failed exchanges that were kept for a look: `recordFailures`.")
PAGE = 100
PAGE_LIMIT = 1000
JSON = "application/json"
T = TypeVar("T")


class ListQuery(ma.Schema):
    """How many."""

    limit = ma.fields.Integer(load_default=PAGE, validate=ma.validate.Range(1, PAGE_LIMIT))


class Row(ma.Schema):
    """A recording; only the first ones, or those and `problem`, of a file that is none."""

    id = ma.fields.String()
    time = ma.fields.String()
    bytes = ma.fields.Integer()
    why = ma.fields.String()
    method = ma.fields.String()
    path = ma.fields.String()
    dialect = ma.fields.String()
    model = ma.fields.String()
    stream = ma.fields.Boolean()
    status = ma.fields.Integer()
    ending = ma.fields.String()
    message = ma.fields.String()
    attempts = ma.fields.Integer()
    durationSec = ma.fields.Float()
    problem = ma.fields.String()


class Listing(ma.Schema):
    """The newest of them, how many there are, and how many are kept."""

    recordings = ma.fields.List(ma.fields.Nested(Row))
    total = ma.fields.Integer()
    kept = ma.fields.Integer()


@rest(blueprint, "GET", "/recordings", query=ListQuery, answer=Listing)
def list_recordings(query: dict[str, Any]) -> dict[str, Any]:
    """List what is recorded, newest first."""
    folder = _folder()

    def work() -> dict[str, Any]:
        entries = folder.entries()
        shown = entries[: query["limit"]]
        return {"recordings": [row_of(one) for one in shown], "total": len(entries)}

    return _beside(work) | {"kept": services().config.record_failures}


@rest(blueprint, "GET", "/recordings/<recording_id>", also={JSON: {"type": "object"}})
def download_recording(recording_id: str) -> Response:
    """Give one as it is stored, prompts included; its id is the answer's `x-kiroproxy-trace`."""
    folder = _folder()

    def work() -> tuple[str, bytes]:
        path = folder.find(recording_id).path
        return path.name, read(path)

    name, data = _beside(work)
    note("recording.download", f"recording {recording_id}")
    response = Response(data, content_type=JSON)
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    return response


@rest(blueprint, "DELETE", "/recordings/<recording_id>", answer=Done)
def delete_recording(recording_id: str) -> dict[str, Any]:
    """Delete one."""
    folder = _folder()
    entry = _beside(lambda: folder.find(recording_id))
    folder.remove(entry)
    note("recording.delete", f"recording {entry.id}")
    return done(f"Recording {entry.id} is deleted.")


@rest(blueprint, "DELETE", "/recordings", answer=Done)
def delete_recordings() -> dict[str, Any]:
    """Delete all of them."""
    folder = _folder()
    entries = _beside(folder.entries)
    for one in entries:
        folder.remove(one)
    note("recording.delete", f"{len(entries)} recordings")
    return done(f"{len(entries)} recordings are deleted.")


def _folder() -> Folder:
    config = services().config
    return Folder(config.state_dir / NAME, config.record_failures)


def _beside(work: Callable[[], T]) -> T:
    """Read files beside the event loop.

    Raises:
        KiroProxyError: as `work` does; gevent would print it.
    """

    def guarded() -> T | KiroProxyError:
        try:
            return work()
        except KiroProxyError as error:
            return error

    result: T | KiroProxyError = gevent.get_hub().threadpool.apply(guarded)
    if isinstance(result, KiroProxyError):
        raise result
    return result
