"""The search call as Kiro gets it."""

import pytest

from kiroproxy.credentials.model import BUILDER_ID_ARN, Credential
from kiroproxy.errors import Throttled
from kiroproxy.upstream.mcp import SearchClient
from tests.simulation import Simulator
from tests.upstream.test_catalogue import voice

ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"


def test_headers_and_results() -> None:
    with Simulator() as simulator:
        client = SearchClient(voice(simulator.url))
        hits = client.search(Credential(id=1, access_token="a", profile_arn=ARN), "kiro")
        assert hits
        assert all(hit.url.startswith("https://") for hit in hits)
        client.search(Credential(id=1, access_token="a", profile_arn=BUILDER_ID_ARN), "kiro")
        first, second = simulator.requests("/mcp")
        assert first["headers"]["x-amzn-kiro-profile-arn"] == ARN
        assert "profileArn" not in first["body"]
        assert "x-amzn-codewhisperer-optout" not in first["headers"]
        assert "x-amzn-kiro-profile-arn" not in second["headers"], "a placeholder causes 403 here"
        simulator.fault("/mcp", status=429, body={"message": "slow down"})
        with pytest.raises(Throttled):
            client.search(Credential(id=1, access_token="a"), "kiro")
