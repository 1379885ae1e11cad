"""Every exception is an answer in the caller's dialect."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug import exceptions as http

from kiroproxy import errors as e
from kiroproxy.web import errors
from tests.web.conftest import AUTH, KEY, Place

REQUEST_ID = re.compile(r"req_[0-9a-f]{24}")
ARGUMENTS: dict[type[Exception], dict[str, Any]] = {
    e.ConfigError: {"setting": "port", "message": "m"},
    e.ContextTooLong: {"tokens": 10, "limit": 5},
    e.Refused: {"message": "m", "status": 404},
    e.BadChecksum: {"part": "message", "expected": 1, "computed": 2, "offset": 3},
    e.FrameTooLarge: {"size": 2, "limit": 1, "offset": 0},
    e.TruncatedStream: {"missing": 1, "offset": 0},
}


def tree(root: type[Exception] = e.KiroProxyError) -> Iterator[type[Exception]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


KINDS = sorted({one for one in tree() if one.__module__ == e.__name__}, key=lambda k: k.__name__)


def instance(kind: type[Exception]) -> Exception:
    if kind in ARGUMENTS:
        return kind(**ARGUMENTS[kind])
    if issubclass(kind, e.EventStreamError) and kind is not e.BadPayload:
        return kind("m", offset=0)  # type: ignore[call-arg]
    return kind("m")


def raising(place: Place, error: Exception, path: str = "/v1/test") -> Any:
    def view() -> str:
        raise error

    place.app.add_url_rule(path, view_func=view)
    return place.client.get(path, headers=AUTH)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_whole_tree(place: Place, kind: type[Exception]) -> None:
    answer = raising(place, instance(kind))
    assert 400 <= answer.status_code < 600
    assert answer.mimetype == "application/json"
    body = answer.get_json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert re.fullmatch(r"[a-z_]+_error|request_too_large", body["error"]["type"])
    assert REQUEST_ID.fullmatch(body["request_id"])
    assert answer.headers["request-id"] == body["request_id"]
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (e.InvalidRequest("m"), 400, "invalid_request_error"),
        (e.NotAuthenticated("m"), 401, "authentication_error"),
        (e.NotFound("m"), 404, "not_found_error"),
        (e.BodyTimeout("m"), 408, "timeout_error"),
        (e.BodyTooLarge("m"), 413, "request_too_large"),
        (e.Throttled("m"), 429, "rate_limit_error"),
        (e.QuotaExhausted("m"), 429, "rate_limit_error"),
        (e.ServerFault("m"), 502, "api_error"),
        (e.UpstreamTimeout("m"), 504, "timeout_error"),
        (e.Overloaded("m"), 529, "overloaded_error"),
        (e.NoCredential("m"), 503, "overloaded_error"),
        (e.BearerRejected("m"), 503, "overloaded_error"),
    ],
)
def test_protocol_8_statuses(place: Place, error: Exception, status: int, kind: str) -> None:
    answer = raising(place, error)
    assert answer.status_code == status
    assert answer.get_json()["error"]["type"] == kind


def test_details_are_handed_on(place: Place) -> None:
    error = e.InvalidRequest("m", details={"error_code": "thread_unsupported_request"})
    body = raising(place, error).get_json()
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_prompt_is_too_long(place: Place) -> None:
    """S110: Claude Code compacts on these words."""
    message = raising(place, e.ContextTooLong(0, 200_000)).get_json()["error"]["message"]
    assert message == "prompt is too long: 200001 tokens > 200000 maximum"


# ---- what is not ours ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError("hush"), KeyError("hush"), OSError("hush")])
def test_a_bug_is_a_500_without_its_words(place: Place, error: Exception) -> None:
    answer = raising(place, error)
    assert answer.status_code == 500
    assert answer.get_json()["error"] == {
        "type": "api_error",
        "message": "Internal server error",
    }
    assert "hush" not in answer.text


def test_a_bug_is_logged_with_the_requests_id(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.app.add_url_rule("/v1/bug", view_func=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(errors.log, "exception", lambda event, **more: logged.append(more))
    answer = place.client.get("/v1/bug")
    assert logged == [{"request_id": answer.headers["request-id"], "path": "/v1/bug"}]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/nowhere", "GET"),
        ("/v1/nowhere", "POST"),
        ("//v1/messages", "POST"),
        ("/v1", "GET"),
        ("/static/x", "GET"),
        ("/%00", "GET"),
        ("/ünter", "DELETE"),
    ],
)
def test_unknown_paths(place: Place, path: str, method: str) -> None:
    answer = place.client.open(path, method=method, headers=AUTH)
    assert answer.status_code == 404
    body = answer.get_json()
    assert body["error"]["type"] == "not_found_error"
    assert "No such path" in body["error"]["message"]
    assert REQUEST_ID.fullmatch(answer.headers["request-id"])


@pytest.mark.parametrize(
    ("path", "method"),
    [("/v1/messages", "GET"), ("/v1/models", "POST"), ("/health", "POST"), ("/", "PUT")],
)
def test_wrong_methods(place: Place, path: str, method: str) -> None:
    answer = place.client.open(path, method=method, headers=AUTH)
    assert answer.status_code == 405
    assert answer.get_json()["error"] == {
        "type": "invalid_request_error",
        "message": f"{method} is not allowed for {path}",
    }


@pytest.mark.parametrize("error", [http.BadRequest("why"), http.RequestEntityTooLarge()])
def test_werkzeugs_own_refusals(place: Place, error: Exception) -> None:
    answer = raising(place, error)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["type"] == "invalid_request_error"


def test_head_has_no_body(place: Place) -> None:
    answer = place.client.head("/nowhere")
    assert answer.status_code == 404
    assert answer.data == b""


def test_the_admin_apis_own_shape(place: Place) -> None:
    """S127, S136."""
    answer = place.client.get("/api/admin/nowhere", headers={"x-api-key": "sk-admin"})
    assert answer.status_code == 404
    assert answer.get_json() == {
        "error": {"type": "not_found", "message": "No such path: /api/admin/nowhere"}
    }


def test_a_bug_in_the_admin_apis_shape(place: Place) -> None:
    answer = raising(place, ZeroDivisionError("hush"), "/api/bug")
    assert answer.status_code == 500
    assert answer.get_json()["error"]["type"] == "internal_error"


# ---- headers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (e.Throttled("m", retry_after_s=17), "17"),
        (e.Throttled("m", retry_after_s=0.2), "1"),
        (e.Throttled("m", retry_after_s=16.1), "17"),
        (e.Throttled("m", retry_after_s=0), "5"),
        (e.Throttled("m"), "5"),
        (e.NoCredential("m", retry_after_s=3), "3"),
        (e.NoCredential("m", retry_after_s=-2), "1"),
        (e.NoCredential("m"), None),
        (e.InvalidRequest("m"), None),
        (e.ServerFault("m"), None),
    ],
)
def test_retry_after_is_a_whole_number_of_seconds(
    place: Place, error: Exception, wanted: str | None
) -> None:
    assert raising(place, error).headers.get("retry-after") == wanted


def test_every_429_says_when(place: Place) -> None:
    assert (errors._retry_after(e.QuotaExhausted("m")) or 0) >= 1


def test_each_request_has_its_own_id(place: Place) -> None:
    ids = {place.client.get("/health").headers["request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_q3_foreign_request_ids_do_no_harm(place: Place) -> None:
    for odd in ("a b", "x" * 200, "é"):
        answer = place.client.get("/health", headers={"x-request-id": odd})
        assert answer.status_code == 200
        assert odd not in str(answer.headers)


def test_upstreams_refusals_reach_the_client(make: Callable[..., Place]) -> None:
    place = make()
    place.kiro.scripts = [e.Throttled("slow", retry_after_s=9)] * 3
    answer = place.post()
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "9"
    assert KEY not in answer.text
