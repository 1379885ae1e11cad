"""How an endpoint of the admin API is declared: method, path, what comes in, what goes out.

flask-smorest checks and documents; our own parser reads bodies (with their limits) and our own
table answers errors, so that both are as everywhere else (S136).
"""

import http
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import marshmallow as ma
import orjson
from flask import Request, Response
from flask_smorest import Api, Blueprint
from webargs import flaskparser
from webargs.multidictproxy import MultiDictProxy

from kiroproxy import __version__
from kiroproxy.errors import InvalidRequest
from kiroproxy.web import errors
from kiroproxy.web.body import read_json
from kiroproxy.web.services import services

PREFIX = "/api/admin"
NUMBER_LIMIT = 2**53
"""Beyond this, numbers are not the same in all languages."""

FILE = {"type": "string", "format": "binary"}
"""The schema of an answer that is a file."""

View = TypeVar("View", bound=Callable[..., Any])
Fields = type[ma.Schema]


ERROR_TYPES = (
    *("invalid_request", "authentication_error", "permission_error", "not_found"),
    *("timeout_error", "request_too_large", "rate_limit_error"),
    *("internal_error", "api_error", "unavailable"),
)
"""S136, and what the HTTP side adds."""


class ErrorFacts(ma.Schema):
    """What went wrong."""

    type = ma.fields.String(
        validate=ma.validate.OneOf(ERROR_TYPES), metadata={"example": "invalid_request"}
    )
    message = ma.fields.String()
    param = ma.fields.String(metadata={"description": "the field that is to blame, if it is one"})


class Error(ma.Schema):
    """Every answer that is no success."""

    error = ma.fields.Nested(ErrorFacts)


class AdminApi(Api):  # type: ignore[misc] # it has no types
    """The API with our errors."""

    ERROR_SCHEMA = Error

    def handle_http_exception(self, error: Exception) -> Response:
        """What werkzeug raises is answered like everything else."""
        return errors.answer(error)


class Parser(flaskparser.FlaskParser):
    """Reads what a caller sends; anything that is not in the schema is an error."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - as in its base
        "json": ma.RAISE,
        "query": ma.RAISE,
        "form": ma.RAISE,
    }

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """The body as an object, whatever Content-Type says; no body is an empty one."""
        return read_object(req)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The query; a name that is not repeatable counts once."""
        return MultiDictProxy(req.args, schema)

    def handle_error(
        self,
        error: ma.ValidationError,
        req: Request,
        schema: ma.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> Any:
        """Name the first field that is wrong.

        Raises:
            InvalidRequest: always.
        """
        [location] = error.messages.values() if isinstance(error.messages, dict) else [[]]
        raise fault(location)


def fault(messages: Any) -> InvalidRequest:
    """The first of marshmallow's complaints."""
    names = []
    while isinstance(messages, dict):
        name, messages = next(iter(messages.items()))
        names.append(str(name))
    why = messages[0] if isinstance(messages, list) and messages else messages
    where = ".".join(one for one in names if one != "_schema")
    words = str(why).removesuffix(".").strip()
    return InvalidRequest(f"{where}: {words}" if where else words, param=where or None)


def load(schema: Fields, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a schema makes of values that were read already.

    Raises:
        InvalidRequest: names the first that is wrong.
    """
    try:
        return cast("dict[str, Any]", schema(unknown=ma.RAISE).load(raw))
    except ma.ValidationError as error:
        raise fault(error.messages) from None


def read_object(req: Request) -> dict[str, Any]:
    """The body's JSON object, {} if there is no body.

    Raises:
        RequestError: as `read_json`.
    """
    if not req.content_length and "transfer-encoding" not in req.headers:
        return {}
    config = services().config
    body = read_json(req, limit_bytes=config.max_body_bytes, timeout_s=config.body_timeout_sec)
    try:
        orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # halves of surrogate pairs, numbers beyond 64 bits: no field wants them
        raise InvalidRequest(
            "The request body holds a number beyond 64 bits, or half of a surrogate pair."
        ) from None
    return body


PARSER = Parser()


def room(name: str, description: str) -> Blueprint:
    """A part of the API."""
    made = Blueprint(name, __name__, url_prefix=PREFIX, description=description)
    made.ARGUMENTS_PARSER = PARSER
    return made


def rest(
    where: Blueprint,
    method: str,
    rule: str,
    *,
    body: Fields | ma.Schema | None = None,
    query: Fields | ma.Schema | None = None,
    answer: Fields | None = None,
    status: int = 200,
    also: Mapping[str, Any] | None = None,
    asks_kiro: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Callable[[View], View]:
    """Declare a view; it gets the body, then the query, then the values of the path.

    A view that gives a `Response` answers that; anything else goes through `answer`, which drops
    whatever is not declared. `also` are other answers: content type → schema. `asks_kiro`: it may
    be Kiro who refuses. `more` goes into the document as it is.
    """

    def declare(view: View) -> View:
        made: Any = view
        phrase = http.HTTPStatus(status).phrase
        made = where.response(status, answer, description=phrase)(made)
        for content_type, schema in (also or {}).items():
            kind = {"content_type": content_type, "schema": schema, "success": True}
            made = where.alt_response(status, description=phrase, **kind)(made)
        if query is not None:
            made = where.arguments(query, location="query")(made)
        if body is not None:
            made = where.arguments(body, location="json", required=_has_required(body))(made)
        made = where.doc(
            operationId=view.__name__,
            responses=_refusals(rule, body is not None or more is not None, asks_kiro),
        )(made)
        if more is not None:
            made = where.doc(**more)(made)
        where.route(rule, methods=[method], endpoint=view.__name__)(made)
        return cast(View, made)

    return declare


def _refusals(rule: str, has_body: bool, asks_kiro: bool) -> dict[str, str]:
    """The errors of an operation, as names of the document's common ones."""
    statuses = [400, 401, 429, 500, 503]
    statuses += [404] if "<" in rule else []
    statuses += [408, 413, 415] if has_body else []
    statuses += [502] if asks_kiro else []
    return {str(one): http.HTTPStatus(one).name for one in sorted(statuses)}


def _has_required(schema: Fields | ma.Schema) -> bool:
    made = schema() if isinstance(schema, type) else schema
    return any(field.required for field in made.fields.values())


# ---- fields --------------------------------------------------------------------------------


def whole(**facts: Any) -> ma.fields.Integer:
    """A whole number, never a text that looks like one."""
    limits = ma.validate.Range(-NUMBER_LIMIT, NUMBER_LIMIT)
    facts.setdefault("validate", limits)
    return ma.fields.Integer(strict=True, **facts)


def count(**facts: Any) -> ma.fields.Integer:
    """A whole number of at least 0."""
    error = f"must be a whole number from 0 to {NUMBER_LIMIT}"
    return whole(
        validate=ma.validate.Range(0, NUMBER_LIMIT, error=error),
        error_messages={"invalid": error},
        **facts,
    )


class Switch(ma.fields.Boolean):
    """True or false, and nothing that stands for it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ma.ValidationError("must be true or false")
        return value


def switch(**facts: Any) -> Switch:
    """A field that is on or off."""
    return Switch(**facts)


def text(limit: int = 10_000, **facts: Any) -> ma.fields.String:
    """A text of at most so many characters."""
    return ma.fields.String(validate=ma.validate.Length(max=limit), **facts)


def line(limit: int, **facts: Any) -> ma.fields.String:
    """A text of one line, which terminals show as it is: no control characters."""
    return ma.fields.String(validate=[ma.validate.Length(max=limit), _is_printable], **facts)


def _is_printable(value: str) -> None:
    if not value.isprintable():
        raise ma.ValidationError("must have no line breaks and no control characters")


def word(*words: str, **facts: Any) -> ma.fields.String:
    """One of some words."""
    return ma.fields.String(
        validate=ma.validate.OneOf(words, error=f"must be one of {', '.join(words)}"), **facts
    )


class Done(ma.Schema):
    """It is done."""

    success = ma.fields.Boolean()
    message = ma.fields.String()


class Nothing(ma.Schema):
    """No fields."""


def done(message: str, **more: Any) -> dict[str, Any]:
    """The answer of S131 to S134."""
    return {"success": True, "message": message} | more


TITLE = "kiroproxy admin API"
ABOUT = (
    "For the operator, with the admin key in x-api-key or as a bearer. Bodies are JSON objects; "
    "unknown fields are refused. Every error is an object `error` with `type`, `message` and, "
    "where one field is to blame, `param`. After five wrong keys a minute from one address: 429 "
    "with retry-after. Changes count in all workers within a second and are in the audit log."
)


def api_settings() -> dict[str, Any]:
    """What flask-smorest is told."""
    return {
        "API_TITLE": TITLE,
        "API_VERSION": __version__,
        "OPENAPI_VERSION": "3.0.3",
        "OPENAPI_URL_PREFIX": PREFIX,
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {
            "components": {
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                }
            },
            "security": [{"key": []}, {"bearer": []}],
            "info": {"description": ABOUT},
        },
    }
