"""A sign-in as a value."""

import msgspec
import pytest

from kiroproxy.upstream.oauth import Client
from kiroproxy.upstream.sign_in import Memory, Phase, SignIn, Wish, blank, ended, expiry

SECRETS = ("the-client", "the-secret", "the-device", "the-state", "the-verifier")
DEVICE = SignIn(
    id="x",
    wish=Wish(start_url="https://a", group="pro", priority=3, label="mine", relogin=4),
    method="idc",
    region="eu-west-1",
    url="https://a/?user_code=AB",
    page="https://a/",
    user_code="AB",
    expires_at=1_800_000_000.0,
    trouble="it rains",
    client=Client("the-client", "the-secret", 5.0),
    device_code="the-device",
    state="the-state",
    verifier="the-verifier",
)


def test_it_survives_being_kept() -> None:
    memory = Memory()
    memory.remember("login x", msgspec.json.encode(DEVICE).decode())
    memory.remember("other", "")
    kept = memory.recall("login ")
    assert list(kept) == ["login x"]
    assert msgspec.json.decode(kept["login x"][0], type=SignIn) == DEVICE


@pytest.mark.parametrize("phase", ["pending", "storing", "done", "failed", "cancelled"])
def test_no_secret_is_shown(phase: Phase) -> None:
    got = ended(DEVICE, phase)
    assert got.phase == phase
    for text in (
        repr(DEVICE),
        str(DEVICE.describe()),
        repr(got),
        msgspec.json.encode(got).decode(),
    ):
        assert not [secret for secret in SECRETS if secret in text]


def test_what_is_described() -> None:
    shown = DEVICE.describe()
    assert shown["userCode"] == "AB"
    assert shown["expiresAt"] == "2027-01-15T08:00:00.000Z"
    assert shown["trouble"] == "it rains"
    social = SignIn(id="x", wish=Wish(port=4649), method="google", region="us-east-1")
    assert social.describe()["redirectUri"] == "http://127.0.0.1:4649/oauth/callback"
    done = ended(DEVICE, "done").describe()
    assert done["relogin"] is True
    assert "url" not in done


def test_the_credential_before_its_tokens() -> None:
    one = blank(DEVICE)
    assert (one.auth_method, one.provider, one.region) == ("idc", "Enterprise", "eu-west-1")
    assert (one.group, one.priority, one.label) == ("pro", 3, "mine")
    assert one.extra == {"startUrl": "https://a", "clientSecretExpiresAt": 5}
    social = blank(SignIn(id="x", wish=Wish(group="default"), method="github", region="us-east-1"))
    assert (social.auth_method, social.provider, social.group) == ("social", "Github", None)
    assert (social.client_id, social.extra) == (None, {})


def test_an_expiry_says_what_stood_in_the_way() -> None:
    assert expiry(DEVICE).endswith("(it rains)")
