"""`/api/admin/models`, `/choice` and `/explain`: where a request goes, went, and would go."""

from typing import Any

import marshmallow as ma

from kiroproxy.credentials.policy import BUSY
from kiroproxy.credentials.rehearsal import Rehearsal, rehearse
from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import Model, listed_models
from kiroproxy.web.admin.api import rest, room, text
from kiroproxy.web.admin.shapes import TraceFacts
from kiroproxy.web.replies import choose
from kiroproxy.web.services import services
from kiroproxy.web.v1 import json_response

blueprint = room("models", "Models, and which credential serves a request.")


class ModelRow(ma.Schema):
    """A model; sizes in tokens."""

    id = ma.fields.String()
    name = ma.fields.String()
    window = ma.fields.Integer()
    max_output = ma.fields.Integer()


class ModelList(ma.Schema):
    """What clients may ask for, and the operator's say in it."""

    mapping = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String())
    table = ma.fields.String()
    unknown_name = ma.fields.String(data_key="unknown")
    models = ma.fields.List(ma.fields.Nested(ModelRow))


class Name(ma.Schema):
    """A client's name for a model."""

    name = text(200, required=True)


class Tried(ma.Schema):
    """What a name comes to."""

    name = ma.fields.String()
    known = ma.fields.Boolean()
    model = ma.fields.Nested(ModelRow)
    thinking = ma.fields.Boolean()
    message = ma.fields.String()


class Question(ma.Schema):
    """A request that nobody makes."""

    model = text(200, required=True)
    group = text(100)
    session = text(1000)


class Skipped(ma.Schema):
    """Why not this one."""

    credentialId = ma.fields.Integer()
    reason = ma.fields.String()


class ChoiceEnd(ma.Schema):
    """Who would serve it."""

    model = ma.fields.String()
    kiroModel = ma.fields.String()
    group = ma.fields.String()
    credentialId = ma.fields.Integer(allow_none=True)
    outcome = ma.fields.String()
    pinned = ma.fields.Boolean()
    probe = ma.fields.Boolean()
    waitSec = ma.fields.Float(allow_none=True)
    skipped = ma.fields.List(ma.fields.Nested(Skipped))
    next = ma.fields.List(ma.fields.Integer())


@rest(blueprint, "GET", "/models", answer=ModelList)
def list_models() -> dict[str, Any]:
    """List the models that clients are offered."""
    parts = services()
    own = parts.models
    return {
        "mapping": dict(own.mapping),
        "table": own.table,
        "unknown_name": own.unknown,
        "models": [_model(one) for one in listed_models(own, parts.catalogue.models())],
    }


@rest(blueprint, "POST", "/models/try", body=Name, answer=Tried)
def try_name(body: dict[str, Any]) -> dict[str, Any]:
    """Say which model a name comes to."""
    name = body["name"]
    try:
        found = choose(services(), name)
    except NotFound as error:
        return {"name": name, "known": False, "message": str(error)}
    return {"name": name, "known": True, "model": _model(found.model), "thinking": found.thinking}


@rest(blueprint, "POST", "/choice", body=Question, answer=ChoiceEnd)
def rehearse_choice(body: dict[str, Any]) -> dict[str, Any]:
    """Say which credential would serve a request now, and why not the others."""
    parts = services()
    group = body.get("group", "").strip()
    if group:
        parts.pool.check_group(group)
    model = choose(parts, body["model"]).model.id
    found = rehearse(parts.pool, model, group, body.get("session", ""))
    return {
        "model": body["model"],
        "kiroModel": model,
        "group": group,
        "credentialId": found.credential_id or None,
        "outcome": outcome_of(found),
        "pinned": found.pinned,
        "probe": found.choice.probe,
        "waitSec": found.choice.rest_s,
        "skipped": [{"credentialId": one.id, "reason": one.reason} for one in found.choice.skips],
        "next": list(found.following),
    }


@rest(blueprint, "GET", "/explain/<trace_id>", answer=TraceFacts)
def explain(trace_id: str) -> Any:
    """Tell each attempt of a request, and each credential that was passed over, with the reason."""
    trace = services().pool.traces.find(trace_id)
    if trace is None:
        raise NotFound(f"There is no trace {trace_id}: it is too old, or never reached the pool.")
    return json_response(trace)


def outcome_of(found: Rehearsal) -> str:
    """What the request would see first."""
    if found.credential_id:
        return "served"
    if found.choice.wait or found.choice.why == BUSY:
        return "queued"
    return "resting" if found.choice.rest_s is not None else "refused"


def _model(one: Model) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "window": one.window, "max_output": one.max_output}
