"""Shapes of what the ledger and the pool tell as plain objects, for the OpenAPI document.

They are told as they are, without another pass: a test compares answers with the document.
"""

from typing import Any

import marshmallow as ma

from kiroproxy.ledger.usage_query import FIELDS

KINDS: dict[Any, type[ma.fields.Field[Any]]] = {
    str: ma.fields.String,
    int: ma.fields.Integer,
    bool: ma.fields.Boolean,
}


class Told(ma.fields.Nested):
    """Documented as nested; the value goes out untouched."""

    def _serialize(  # type: ignore[override] # its bases do not agree
        self, value: Any, attr: Any, obj: Any, **kwargs: Any
    ) -> Any:
        return value


def told(schema: type[ma.Schema], **facts: Any) -> Told:
    """An object of that shape."""
    return Told(schema, **facts)


class Given(ma.fields.Nested):
    """Documented as nested; the value comes in untouched, for `parse` functions to check."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ma.ValidationError("must be an object")
        for name in set(value) - set(self.schema.fields):
            raise ma.ValidationError({str(name): ["there is no such setting"]})
        return value


def given(schema: type[ma.Schema]) -> Given:
    """An object of that shape, or null."""
    return Given(schema, allow_none=True)


def list_of(schema: type[ma.Schema]) -> ma.fields.List[Any]:
    """Many of them."""
    return ma.fields.List(Told(schema))


def _of_ledger(name: str, kind: Any) -> ma.fields.Field[Any]:
    found = KINDS.get(kind)
    return found() if found is not None else ma.fields.Float(allow_none="None" in str(kind))


REQUEST = {name: _of_ledger(name, kind) for name, kind in FIELDS.items()}
COUNTS = (
    *("requests", "errors", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens"),
)


def _schema(name: str, words: str, fields: dict[str, ma.fields.Field[Any]]) -> type[ma.Schema]:
    made = ma.Schema.from_dict(fields, name=name)
    made.__doc__ = words
    return made


RequestRow = _schema(
    "RequestRow", "A request that has ended.", {**REQUEST, "time": ma.fields.DateTime()}
)
Sum = _schema(
    "Sum",
    "A sum of requests; of what, is named beside it.",
    {
        **{name: _of_ledger(name, kind) for name, kind in FIELDS.items()},
        **{name: ma.fields.Integer() for name in COUNTS},
        "credits": ma.fields.Float(),
        "duration_s": ma.fields.Float(),
        "first_event_s": ma.fields.Float(allow_none=True),
        "start": ma.fields.DateTime(),
    },
)


class AuditEntry(ma.Schema):
    """A change: who, from where, what, and how it was before and after."""

    id = ma.fields.String()
    time = ma.fields.DateTime()
    who = ma.fields.String()
    client = ma.fields.String()
    action = ma.fields.String()
    target = ma.fields.String()
    before = ma.fields.Dict(allow_none=True)
    after = ma.fields.Dict(allow_none=True)


class GroupSettings(ma.Schema):
    """How the credentials of a group are used; null leaves it to the configuration, 0 is none."""

    priority = ma.fields.Integer(allow_none=True)
    cooldown_sec = ma.fields.Float(allow_none=True)
    rate_limit_qps = ma.fields.Float(allow_none=True)
    rate_limit_burst = ma.fields.Float(allow_none=True)


class BudgetFacts(ma.Schema):
    """Credits a day and a month; 0 is no limit."""

    day_soft = ma.fields.Float(allow_none=True)
    day_hard = ma.fields.Float(allow_none=True)
    month_soft = ma.fields.Float(allow_none=True)
    month_hard = ma.fields.Float(allow_none=True)


class KeyLimitFacts(ma.Schema):
    """What a client key may do; 0 is no limit."""

    requests_per_minute = ma.fields.Integer(allow_none=True)
    concurrent = ma.fields.Integer(allow_none=True)
    output_tokens_per_day = ma.fields.Integer(allow_none=True)


class BulkRow(ma.Schema):
    """What became of one; the rest is there as far as the act has it."""

    id = ma.fields.Integer()
    success = ma.fields.Boolean()
    error = ma.fields.String()
    expiresAt = ma.fields.DateTime(allow_none=True)
    subscriptionTitle = ma.fields.String()
    currentUsage = ma.fields.Float()
    usageLimit = ma.fields.Float()
    remaining = ma.fields.Float()
    usagePercentage = ma.fields.Float()
    nextResetAt = ma.fields.DateTime(allow_none=True)


class TraceAttempt(ma.Schema):
    """A call on behalf of a credential; times in seconds since the request began."""

    credential_id = ma.fields.Integer()
    name = ma.fields.String()
    began_s = ma.fields.Float()
    ended_s = ma.fields.Float(allow_none=True)
    probe = ma.fields.Boolean()
    outcome = ma.fields.String()
    message = ma.fields.String()


class TraceSkip(ma.Schema):
    """Who was passed over."""

    attempt = ma.fields.Integer()
    credential_id = ma.fields.Integer()
    reason = ma.fields.String()


class TraceFacts(ma.Schema):
    """The story of a request in the pool."""

    id = ma.fields.String()
    time = ma.fields.DateTime()
    model = ma.fields.String()
    group = ma.fields.String()
    session = ma.fields.String()
    waited_s = ma.fields.Float()
    attempts = list_of(TraceAttempt)
    skipped = list_of(TraceSkip)
    error = ma.fields.String()
    usage = ma.fields.String()
