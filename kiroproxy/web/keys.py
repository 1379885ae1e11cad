"""`/api/keys`: client keys, as kiro2api's users know them; behind the admin key (X17)."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger.key_book import NewKey, build_key, parse_settings
from kiroproxy.ledger.keys import ClientKey
from kiroproxy.web.admin.changes import note
from kiroproxy.web.body import read_json
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.services import services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("keys", __name__, url_prefix="/api/keys")
OVERLAP_S = 24 * 3600.0
READ_ONLY = (
    "id",
    "hint",
    "expired",
    "created_at",
    "last_used_at",
    "old_key_until",
    "key_preview",
)
"""What answers hold and clients send back with a change."""


@blueprint.before_request
def _guard() -> None:
    admit_operator()


def _body() -> dict[str, Any]:
    """The body, without what nobody can set."""
    config = services().config
    body = read_json(request, limit_bytes=config.max_body_bytes, timeout_s=config.body_timeout_sec)
    given = {name: value for name, value in body.items() if name not in READ_ONLY}
    if "enabled" in given:
        enabled = given.pop("enabled")
        if not isinstance(enabled, bool) or given.get("disabled", not enabled) is enabled:
            raise InvalidRequest(
                "enabled: must be true or false, as disabled is not", param="enabled"
            )
        given["disabled"] = not enabled
    return given


def key_object(key: ClientKey) -> dict[str, Any]:
    """A key without its secret, with the names that kiro2api's users look for."""
    return build_key(key, datetime.now(UTC)) | {"key_preview": key.hint}


def _with_secret(new: NewKey) -> dict[str, Any]:
    return key_object(new.key) | {"key": new.secret}


@blueprint.get("")
def list_keys() -> Response:
    """All of them, oldest first."""
    found = [key_object(one) for one in services().ledger.book.all()]
    return json_response({"keys": found, "total": len(found)})


@blueprint.get("/<key_id>")
def one_key(key_id: str) -> Response:
    """One of them."""
    return json_response(key_object(services().ledger.book.get(key_id)))


@blueprint.post("")
def create_key() -> Response:
    """Make one; this answer is the only one that holds the secret.

    A `key` in the body is a secret that is brought along.
    """
    body = _body()
    secret = body.pop("key", None)
    if secret is not None and (not isinstance(secret, str) or not secret):
        raise InvalidRequest("key: must be a text; left out, a new one is made", param="key")
    new = services().ledger.book.create(parse_settings(body), secret=secret or "")
    _note("key.create", new.key)
    return json_response(_with_secret(new), 201)


@blueprint.patch("/<key_id>")
def change_key(key_id: str) -> Response:
    """Change what the body names."""
    book = services().ledger.book
    body = _body()
    before = book.get(key_id)
    changed = book.patch(before.id, body)
    _note("key.edit", changed, before)
    return json_response(key_object(changed))


@blueprint.post("/<key_id>/rotate")
def rotate_key(key_id: str) -> Response:
    """Give it a new secret, told here alone; the old one lasts for `overlap_sec`, a day."""
    body = _body() if request.content_length else {}
    overlap_s = body.get("overlap_sec", OVERLAP_S)
    if isinstance(overlap_s, bool) or not isinstance(overlap_s, int | float):
        raise InvalidRequest("overlap_sec: must be a number", param="overlap_sec")
    new = services().ledger.book.rotate(key_id, overlap_s)
    _note("key.rotate", new.key)
    return json_response(_with_secret(new))


@blueprint.delete("/<key_id>")
def delete_key(key_id: str) -> Response:
    """Delete one, unless it is the last."""
    book = services().ledger.book
    deleted = book.delete(book.get(key_id).id, keep_last=True)
    _note("key.delete", None, deleted)
    return Response(status=204)


def _note(action: str, after: ClientKey | None, before: ClientKey | None = None) -> None:
    """Into the audit log."""
    now = datetime.now(UTC)
    known = after or before
    note(
        action,
        f"key {known.id if known is not None else ''}",
        build_key(before, now) if before is not None else None,
        build_key(after, now) if after is not None else None,
    )
