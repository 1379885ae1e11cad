"""/cc/v1: the Messages API with its answer held back until the token counts are exact (S14 to S20).

Nothing but pings is sent before Kiro's stream has ended.
"""

from flask import Blueprint, Response

from kiroproxy.web import v1

blueprint = Blueprint("cc_v1", __name__)
PREFIXES = ("/cc/v1", "/cc/v1/v1")


def messages() -> Response:
    """Answer a Messages request, held back."""
    return v1.answer_messages(held=True)


for prefix in PREFIXES:
    add = blueprint.add_url_rule
    add(f"{prefix}/messages", view_func=messages, methods=["POST"])
    add(f"{prefix}/messages/count_tokens", view_func=v1.count_tokens, methods=["POST"])
    add(f"{prefix}/models", view_func=v1.list_models, methods=["GET"])
    add(f"{prefix}/models/<path:model_id>", view_func=v1.one_model, methods=["GET"])
