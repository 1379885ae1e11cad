"""schemathesis on the OpenAPI document: whatever is sent, nothing is a bug of ours."""

import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kiroproxy.config import SETTINGS
from kiroproxy.errors import InvalidRequest
from kiroproxy.web.admin import imports, usage
from tests.web.admin.conftest import OPERATOR, Desk
from tests.web.admin.test_logins import PENDING

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi import checks

CONFORMANCE = [
    checks.response_schema_conformance,
    checks.content_type_conformance,
    checks.status_code_conformance,
]
"""What the document says of answers is so."""

BUDGET_S = 40.0
EXAMPLES = 12
OUTSIDE = {"/api/admin/doctor"}
"""It calls Kiro, which nobody plays here; tests/flows/test_admin.py has it."""


class Anything:
    """Sign-ins that begin and end as they like."""

    def start(self, wish: Any) -> Any:
        raise InvalidRequest("not today")

    def poll(self, sign_in_id: str) -> Any:
        return PENDING

    cancel = poll

    def receive(self, sign_in_id: str, redirect: str) -> Any:
        return PENDING


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")
def test_no_request_is_a_bug(
    open_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(3)
    desk.parts.sign_ins = cast(Any, Anything())
    monkeypatch.setattr(usage, "LIFE_S", 0.0)
    monkeypatch.setattr(imports.sources, "IDE_PLACE", str(desk.files / "none.json"))
    monkeypatch.setattr(imports.sources, "CLI_PLACES", ())
    schema = schemathesis.openapi.from_dict(desk.get("/openapi.json"))
    app = desk.place.app
    desk.post("/groups", {"name": "pro"}, 201)
    key = desk.post("/keys", {"name": "k"}, 201)["id"]
    known: dict[str, list[Any]] = {
        "credential_id": [1, 2, 3],
        "name": ["pro", "default"],
        "key_id": [key],
        "key": [row.key for row in SETTINGS],
    }
    began, tried = time.monotonic(), 0
    failures: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in OUTSIDE:
            continue
        if time.monotonic() - began > BUDGET_S:
            break
        tried += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), data=st.data())
        def ask(case: Any, data: st.DataObject) -> None:
            for name in set(case.path_parameters or ()) & set(known):
                if data.draw(st.booleans()):  # else nearly all answers would be 404
                    case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
            if time.monotonic() - began > BUDGET_S:
                return
            answer = case.call(app=app, base_url="http://localhost", headers=OPERATOR)
            if answer.status_code >= 500 and answer.status_code not in (502, 503):
                failures.append(f"{case.method} {case.formatted_path}: {answer.text[:300]}")
            if "octet" not in answer.headers["content-type"][0]:
                try:
                    case.validate_response(answer, checks=CONFORMANCE)
                except FailureGroup as error:
                    words = "; ".join(str(one) for one in error.exceptions)
                    failures.append(f"{case.method} {case.formatted_path}: {words[:1500]}")

        ask()
    assert not failures, failures[:5]
    assert tried > 20
