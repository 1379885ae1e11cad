"""Groups in paths."""

from typing import Any

from flask import Blueprint, Flask, g
from werkzeug.routing import BaseConverter, ValidationError

from kiroproxy.credentials.groups import ROUTES

blueprint = Blueprint("groups", __name__, url_prefix="/api")


class GroupName(BaseConverter):
    """The first part of a path that is no route of ours (X6)."""

    def to_python(self, value: str) -> str:
        """The name, unless it is one of our own paths."""
        if value.lower() in ROUTES:
            raise ValidationError
        return value


def install(app: Flask) -> None:
    """Let paths begin with a group; views find it as `g.group`."""
    app.url_map.converters["group"] = GroupName

    @app.url_value_preprocessor
    def take_group(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values and "group" in values:
            g.group = values.pop("group")
