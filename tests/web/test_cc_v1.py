"""The paths of /cc/v1 exist; how they answer is in tests/flows/test_cc.py."""

import pytest

from kiroproxy.app import create_app
from kiroproxy.config import load_config


@pytest.mark.parametrize("prefix", ["/cc/v1", "/cc/v1/v1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/messages"), ("POST", "/messages/count_tokens"), ("GET", "/models")],
)
def test_s14_paths_need_the_client_key(prefix: str, method: str, path: str) -> None:
    config = load_config({"api_key": "k"}, environ={})
    client = create_app(config).test_client()
    answer = client.open(prefix + path, method=method, json={})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["type"] == "authentication_error"
