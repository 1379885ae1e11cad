"""Sign-ins as resources, against a simulator (protocol notes 5.8, 6.4; RFC 8628)."""

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kiroproxy.app import build_services
from kiroproxy.config import load_config
from kiroproxy.credentials.model import Credential
from kiroproxy.errors import (
    InvalidRequest,
    LoginFailed,
    NotFound,
    ServerFault,
    StoreUnwritable,
    Throttled,
    Unreachable,
)
from kiroproxy.upstream.login import SignIns
from kiroproxy.upstream.oauth import Method
from kiroproxy.upstream.sign_in import Keep, Memory, SignIn, Wish
from tests.servers import free_port
from tests.simulation import Simulator

START_URL = "https://example.awsapps.com/start"
TOKEN = "a-refresh-token-" + "x" * 100


class Desk:
    """Sign-ins on the files of a directory, with a clock to turn."""

    def __init__(self, place: Path, upstream: str, **config: Any) -> None:
        self.path = place / "credentials.json"
        document = {"apiKey": "sk-test", "apiUrl": upstream}
        document |= {"oidcUrl": upstream, "socialAuthUrl": upstream} | config
        (place / "config.json").write_text(json.dumps(document))
        options = {"config_path": place / "config.json", "credentials_path": self.path}
        self.parts = build_services(load_config(options, environ={}))
        self.now = datetime.now(UTC)
        self.sign_ins = self.worker(Memory())

    def worker(self, keep: Keep) -> SignIns:
        own = self.parts.sign_ins
        return SignIns(
            own._transport,
            own._settings,
            own._accounts,
            own._registry,
            keep=keep,
            clock=lambda: self.now,
        )

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def add(self, **fields: Any) -> Credential:
        return self.parts.sign_ins._registry.add({"refreshToken": TOKEN} | fields)

    def stored(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            json.loads(self.path.read_text()) if self.path.exists() else []
        )
        return found

    def approve(self, sign_in: SignIn) -> SignIn:
        """Poll to the end."""
        for _ in range(20):
            if sign_in.phase == "done":
                return sign_in
            self.sleep(sign_in.interval_s)
            sign_in = self.sign_ins.poll(sign_in.id)
        raise AssertionError(sign_in)

    def sign_in(self, method: Method, **wish: Any) -> SignIn:
        """A whole sign-in."""
        started = self.sign_ins.start(Wish(method=method, **wish))
        if started.device:
            return self.approve(started)
        return self.sign_ins.receive(started.id, follow(started.url))


def follow(url: str) -> str:
    """What a browser does: open the page, and say where it is sent."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        return connection.getresponse().getheader("location") or ""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator("--strict") as simulator:
        yield simulator


@pytest.fixture
def sim(shared_simulator: Simulator) -> Simulator:
    shared_simulator.reset()
    shared_simulator.device(interval=0)
    return shared_simulator


@pytest.fixture
def desk(sim: Simulator, tmp_path: Path) -> Desk:
    return Desk(tmp_path, sim.url)


def failure(desk: Desk, sign_in: SignIn) -> LoginFailed:
    """How a sign-in ends that must end badly, and that it is told alike afterwards."""
    with pytest.raises(LoginFailed) as error:
        desk.approve(sign_in)
    with pytest.raises(LoginFailed) as again:
        desk.sign_ins.poll(sign_in.id)
    assert (again.value.code, str(again.value)) == (error.value.code, str(error.value))
    assert desk.stored() == []
    return error.value


# ---- the ways in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "more", "kind", "provider", "region"),
    [
        ("builder-id", {}, "idc", "BuilderId", "us-east-1"),
        ("idc", {"start_url": START_URL, "region": "eu-west-1"}, "idc", "Enterprise", "eu-west-1"),
        ("google", {}, "social", "Google", "eu-central-1"),
        ("github", {"region": "us-east-1"}, "social", "Github", "us-east-1"),
    ],
)
def test_every_way_in(
    sim: Simulator,
    tmp_path: Path,
    method: Method,
    more: dict[str, Any],
    kind: str,
    provider: str,
    region: str,
) -> None:
    desk = Desk(tmp_path, sim.url, region="eu-central-1")
    done = desk.sign_in(method, label="mine", group="pro", priority=3, **more)
    (entry,) = desk.stored()
    assert (done.phase, done.credential_id) == ("done", entry["id"])
    assert (entry["authMethod"], entry["provider"], entry["region"]) == (kind, provider, region)
    assert (entry["label"], entry["group"], entry["priority"]) == ("mine", "pro", 3)
    assert entry["profileArn"].startswith("arn:aws:codewhisperer:")
    assert entry["email"].endswith("@example.com")
    assert entry["subscriptionTitle"] == "KIRO PRO"
    assert len(entry["machineId"]) == 64
    assert entry.get("startUrl") == more.get("start_url")
    one = desk.parts.pool.store.snapshot().get(entry["id"])
    assert one is not None
    renewed = desk.parts.pool.force_refresh(one, entry["accessToken"])  # its tokens are good
    assert renewed.refresh_token != entry["refreshToken"]
    assert sim.state()["reuses"] == 0
    assert not [
        one for one in sim.requests() if one["refused"] not in (None, "authorization_pending")
    ]


def test_what_is_sent(sim: Simulator, desk: Desk) -> None:
    """Client, grant types, scopes and user agents of protocol notes 5.2, 5.3 and 5.8."""
    desk.sign_in("idc", start_url=START_URL)
    (register,) = sim.requests("/client/register")
    assert register["body"]["issuerUrl"] == START_URL
    assert "api/sso-oidc#" in register["headers"]["user-agent"]
    desk.sign_in("google")
    (exchange,) = sim.requests("/oauth/token")
    assert exchange["headers"]["user-agent"] == "KiroIDE-0.8.0"
    assert exchange["body"]["redirect_uri"] == "http://127.0.0.1:3128/oauth/callback"
    assert len(exchange["body"]["code_verifier"]) >= 43
    (page,) = sim.requests("/login")
    assert exchange["body"]["code_verifier"] not in json.dumps(page)
    (limits, _) = sim.requests("/getUsageLimits")
    assert limits["query"]["isEmailRequired"] == "true"


def test_an_account_without_a_profile_is_stored_all_the_same(sim: Simulator, desk: Desk) -> None:
    """Builder ID may have none, and Kiro may not answer: neither costs the sign-in."""
    for path in ("/", "/getUsageLimits"):
        sim.fault(path, status=500, times=None)
    desk.sign_in("builder-id")
    (entry,) = desk.stored()
    assert not entry.keys() & {"profileArn", "email", "subscriptionTitle"}


# ---- waiting, and what ends it -----------------------------------------------------------------


def test_polls_keep_their_distance(sim: Simulator, desk: Desk) -> None:
    sim.device(interval=2, mode="manual")
    started = desk.sign_ins.start(Wish(method="builder-id"))
    for seconds, polls in ((0, 0), (1.9, 0), (0.1, 1), (1.9, 1), (0.1, 2)):
        desk.sleep(seconds)
        assert desk.sign_ins.poll(started.id).phase == "pending"
        assert len(sim.requests("/token")) == polls


def test_slow_down_adds_five_seconds_each_time(sim: Simulator, desk: Desk) -> None:
    sim.device(slowDowns=2)
    started = desk.sign_ins.start(Wish(method="builder-id"))
    intervals = []
    for _ in range(3):
        desk.sleep(started.interval_s)
        started = desk.sign_ins.poll(started.id)
        intervals.append(started.interval_s)
    assert intervals == [5, 10, 10]
    assert started.phase == "done"


@pytest.mark.parametrize(("mode", "code"), [("deny", "access_denied"), ("expire", "expired_token")])
def test_device_sign_ins_that_end_badly(sim: Simulator, desk: Desk, mode: str, code: str) -> None:
    sim.device(mode=mode)
    assert failure(desk, desk.sign_ins.start(Wish(method="builder-id"))).code == code


def test_nobody_comes(sim: Simulator, desk: Desk) -> None:
    sim.device(mode="manual", expiresIn=60, interval=7)
    assert failure(desk, desk.sign_ins.start(Wish(method="builder-id"))).code == "expired_token"
    social = desk.sign_ins.start(Wish(method="google"))
    desk.sleep(599)
    assert desk.sign_ins.poll(social.id).phase == "pending"
    desk.sleep(2)
    assert failure(desk, social).code == "expired_token"
    with pytest.raises(LoginFailed):
        desk.sign_ins.receive(social.id, follow(social.url))


def test_a_service_that_is_away_for_a_while_ends_nothing(sim: Simulator, desk: Desk) -> None:
    started = desk.sign_ins.start(Wish(method="builder-id"))
    sim.fault("/token", status=503, body="<html>")
    desk.sleep(5)
    troubled = desk.sign_ins.poll(started.id)
    assert (troubled.phase, troubled.trouble) == ("pending", "the sign-in service answered 503")
    sim.fault("/token", end="reset")
    desk.sleep(troubled.interval_s)
    worse = desk.sign_ins.poll(started.id)
    assert "closed the connection" in worse.trouble
    assert worse.interval_s > troubled.interval_s
    assert desk.approve(worse).phase == "done"


def test_a_service_that_stays_away_is_named_at_the_end(sim: Simulator, desk: Desk) -> None:
    started = desk.sign_ins.start(Wish(method="builder-id"))
    sim.fault("/token", end="reset", times=None)
    assert "closed the connection" in str(failure(desk, started))


@pytest.mark.parametrize(
    ("path", "fault", "kind"),
    [
        ("/client/register", {"status": 400, "body": {"error": "invalid_request"}}, LoginFailed),
        ("/client/register", {"status": 200, "body": {}}, LoginFailed),
        ("/client/register", {"status": 429}, Throttled),
        ("/device_authorization", {"status": 500}, ServerFault),
        ("/device_authorization", {"end": "reset"}, Unreachable),
    ],
)
def test_starts_that_fail(
    sim: Simulator, desk: Desk, path: str, fault: dict[str, Any], kind: type[Exception]
) -> None:
    sim.fault(path, **fault)
    with pytest.raises(kind):
        desk.sign_ins.start(Wish(method="builder-id"))


def test_no_network(tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="refused the connection"):
        desk.sign_ins.start(Wish(method="builder-id"))


def test_the_answer_lacks_its_tokens(sim: Simulator, desk: Desk) -> None:
    for body, lack in (({}, "an access token"), ({"accessToken": "a"}, "a refresh token")):
        sim.fault("/token", status=200, body=body)
        assert lack in str(failure(desk, desk.sign_ins.start(Wish(method="builder-id"))))


# ---- the browser comes back --------------------------------------------------------------------


def test_an_address_of_another_sign_in_leaves_this_one_waiting(desk: Desk) -> None:
    first = desk.sign_ins.start(Wish(method="google"))
    second = desk.sign_ins.start(Wish(method="google"))
    for text, code in ((follow(first.url), "state_mismatch"), ("nonsense", "invalid_redirect")):
        with pytest.raises(LoginFailed) as error:
            desk.sign_ins.receive(second.id, text)
        assert error.value.code == code
    assert desk.sign_ins.receive(second.id, follow(second.url)).phase == "done"
    assert desk.sign_ins.receive(second.id, "again").phase == "done"
    assert len(desk.stored()) == 1


@pytest.mark.parametrize(("mode", "code"), [("deny", "access_denied"), ("expire", "expired_token")])
def test_browser_sign_ins_that_end_badly(sim: Simulator, desk: Desk, mode: str, code: str) -> None:
    sim.device(mode=mode)
    started = desk.sign_ins.start(Wish(method="github"))
    with pytest.raises(LoginFailed) as error:
        desk.sign_ins.receive(started.id, follow(started.url))
    assert error.value.code == code
    assert failure(desk, started).code == code


def test_a_code_works_once_and_with_its_verifier(sim: Simulator, desk: Desk) -> None:
    started = desk.sign_ins.start(Wish(method="google"))
    address = follow(started.url)
    forged = address.replace("code=", "code=x")
    with pytest.raises(LoginFailed, match="authorization code"):
        desk.sign_ins.receive(started.id, forged)
    assert failure(desk, started).code == "refused"
    sim.fault("/oauth/token", end="reset")
    started = desk.sign_ins.start(Wish(method="google"))
    with pytest.raises(Unreachable):
        desk.sign_ins.receive(started.id, follow(started.url))
    assert failure(desk, started).code == "refused"


def test_expires_at_instead_of_expires_in(sim: Simulator, desk: Desk) -> None:
    tokens = {"accessToken": "a", "refreshToken": TOKEN, "expiresAt": "2031-01-01T00:00:00Z"}
    sim.fault("/oauth/token", status=200, body=tokens)
    desk.sign_in("google")
    assert desk.stored()[0]["expiresAt"] == "2031-01-01T00:00:00.000Z"


# ---- what a person says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({}, "method"),
        ({"method": "idc"}, "start_url"),
        ({"method": "idc", "start_url": "http://x"}, "start_url"),
        ({"method": "idc", "start_url": START_URL, "region": "moon"}, "region"),
        ({"method": "builder-id", "region": "eu-west-1"}, "region"),
        ({"method": "google", "group": "a/b"}, None),
        ({"method": "google", "group": "api"}, None),
    ],
)
def test_wishes_that_cannot_be(
    sim: Simulator, desk: Desk, wish: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(InvalidRequest) as error:
        desk.sign_ins.start(Wish(**wish))
    assert param in (None, error.value.param)
    assert sim.requests() == []


def test_a_store_that_cannot_be_written_is_told_before(sim: Simulator, desk: Desk) -> None:
    desk.parts.pool.store.why_unwritable = lambda: "it is full"  # type: ignore[method-assign]
    with pytest.raises(StoreUnwritable, match="it is full"):
        desk.sign_ins.start(Wish(method="google"))
    assert sim.requests() == []


def test_sign_ins_and_credentials_that_do_not_exist(desk: Desk) -> None:
    for call in (desk.sign_ins.poll, desk.sign_ins.cancel):
        with pytest.raises(NotFound):
            call("%")
    with pytest.raises(NotFound):
        desk.sign_ins.start(Wish(relogin=3))
    device = desk.sign_ins.start(Wish(method="builder-id"))
    with pytest.raises(InvalidRequest):
        desk.sign_ins.receive(device.id, "?code=a")


@pytest.mark.parametrize("method", ["builder-id", "google"])
def test_cancelling(sim: Simulator, desk: Desk, method: Method) -> None:
    started = desk.sign_ins.start(Wish(method=method))
    assert desk.sign_ins.cancel(started.id).phase == "cancelled"
    assert desk.sign_ins.cancel(started.id).phase == "cancelled"
    assert failure(desk, started).code == "cancelled"
    assert sim.requests("/token") == []


def test_done_cannot_be_cancelled(desk: Desk) -> None:
    done = desk.sign_in("google")
    assert desk.sign_ins.cancel(done.id).phase == "done"


def test_a_cancel_during_the_last_poll_wins(sim: Simulator, desk: Desk) -> None:
    """Nothing is stored that a person has cancelled, even if Kiro said yes meanwhile."""
    started = desk.sign_ins.start(Wish(method="google"))
    ask = desk.sign_ins._accounts.profile

    class Cancelling:
        def profile(self, credential: Credential) -> str | None:
            return ask(credential)

        def person(self, credential: Credential) -> Any:
            desk.sign_ins.cancel(started.id)
            return desk.parts.sign_ins._accounts.person(credential)

    desk.sign_ins._accounts = Cancelling()
    with pytest.raises(LoginFailed) as error:
        desk.sign_ins.receive(started.id, follow(started.url))
    assert error.value.code == "cancelled"
    assert desk.stored() == []


def test_workers_share_sign_ins_through_the_pool(sim: Simulator, desk: Desk) -> None:
    """Started at one, polled at another, seen by a third; only one of them asks Kiro."""
    a, b, c = (desk.worker(desk.parts.pool) for _ in range(3))
    started = a.start(Wish(method="builder-id"))
    desk.sleep(1)
    assert b.poll(started.id).phase == "pending"
    desk.sleep(1)
    assert c.poll(started.id).phase == "done"
    assert a.poll(started.id).phase == "done"
    assert a.cancel(started.id).credential_id == 1
    assert len(desk.stored()) == 1
    kept = (desk.path.with_name("runtime.db")).stat().st_mode & 0o077
    assert kept == 0, "what is kept holds secrets while it is pending"


# ---- again -------------------------------------------------------------------------------------


def test_signing_in_again_keeps_the_row(sim: Simulator, desk: Desk) -> None:
    sim.device(email="me@example.com")
    done = desk.sign_in("idc", start_url=START_URL, region="eu-west-1", group="pro", label="mine")
    desk.parts.sign_ins._registry.add({"refreshToken": TOKEN})
    before = desk.stored()[0]
    store = desk.parts.pool.store
    store.edit(lambda all_: [_disabled(one, done.credential_id) for one in all_])
    again = desk.approve(desk.sign_ins.start(Wish(relogin=done.credential_id)))
    after = desk.stored()[0]
    assert again.credential_id == done.credential_id
    assert again.method == "idc"
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    times = {"expiresAt", "refreshedAt", "clientSecretExpiresAt"}  # the same within a second
    tokens = {"accessToken", "refreshToken", "clientId", "clientSecret"}
    assert changed - times == tokens | {"generation", "importedFrom", "disabled"}
    assert after["disabled"] is False
    assert (after["generation"], after["machineId"]) == (1, before["machineId"])
    assert len(desk.stored()) == 2
    assert sim.requests("/client/register")[1]["body"]["issuerUrl"] == START_URL


def _disabled(one: Credential, credential_id: int) -> Credential:
    from dataclasses import replace

    if one.id != credential_id:
        return one
    return replace(one, disabled=True, disabled_reason="InvalidRefreshToken")


@pytest.mark.parametrize(
    ("row", "method"),
    [
        ({"provider": "Google"}, "google"),
        ({"provider": "GitHub"}, "github"),
        ({}, None),
        ({"clientId": "a", "clientSecret": "b"}, "builder-id"),
        ({"clientId": "a", "clientSecret": "b", "provider": "Enterprise"}, "idc"),
        ({"clientId": "a", "clientSecret": "b", "provider": "AWSIdC"}, "idc"),
        ({"clientId": "a", "clientSecret": "b", "startUrl": START_URL}, "idc"),
    ],
)
def test_the_row_says_how_to_sign_in(desk: Desk, row: dict[str, Any], method: str | None) -> None:
    one = desk.add(authRegion="eu-west-1", **row)
    wish = desk.sign_ins.complete(Wish(relogin=one.id))
    assert (wish.method, wish.region) == (method, "eu-west-1")
    assert wish.start_url == row.get("startUrl", "")
    other = desk.sign_ins.complete(Wish(relogin=one.id, method="builder-id"))
    assert other.region == ("eu-west-1" if method == "builder-id" else "")


def test_nobody_signs_in_for_an_api_key(desk: Desk) -> None:
    key = desk.parts.sign_ins._registry.add({"kiroApiKey": "ksk_x"})
    with pytest.raises(InvalidRequest, match="api_key"):
        desk.sign_ins.start(Wish(relogin=key.id, method="google"))


def test_the_same_account_is_told(sim: Simulator, desk: Desk) -> None:
    sim.device(email="me@example.com")
    first = desk.sign_in("google")
    second = desk.sign_in("google")
    assert (first.same_as, second.same_as) == ((), (first.credential_id,))
    assert second.describe()["sameAccountAs"] == [first.credential_id]
    again = desk.sign_in("google", relogin=second.credential_id)
    assert (again.other_account, again.same_as) == (False, (first.credential_id,))
    sim.device(email="you@example.com")
    assert desk.sign_in("google", relogin=second.credential_id).other_account is True


def test_signing_in_again_goes_out_by_the_rows_own_proxy(desk: Desk) -> None:
    one = desk.add(provider="Google", proxyUrl=f"http://127.0.0.1:{free_port()}")
    started = desk.sign_ins.start(Wish(relogin=one.id))
    with pytest.raises(Unreachable, match="proxy"):
        desk.sign_ins.receive(started.id, follow(started.url))


def test_a_row_deleted_meanwhile(sim: Simulator, desk: Desk) -> None:
    one = desk.add(provider="Google")
    started = desk.sign_ins.start(Wish(relogin=one.id))
    address = follow(started.url)
    desk.parts.sign_ins._registry.remove(one.id)
    with pytest.raises(NotFound):
        desk.sign_ins.receive(started.id, address)
    assert desk.stored() == []


def test_s85_proxy_and_tls_settings_hold_for_sign_ins(sim: Simulator, tmp_path: Path) -> None:
    desk = Desk(tmp_path, sim.url, proxyUrl=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="proxy"):
        desk.sign_ins.start(Wish(method="builder-id"))
    assert sim.requests() == []
    desk = Desk(tmp_path, sim.url, proxyUrl="http://127.0.0.1:1", noProxy="127.0.0.1")
    assert desk.sign_ins.start(Wish(method="builder-id")).user_code
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    desk = Desk(tmp_path, sim.url, caBundle=str(bundle))
    assert desk.parts.sign_ins._settings.route.verify == str(bundle)


def test_a_sign_in_whose_worker_died_while_storing_ends(desk: Desk) -> None:
    from dataclasses import replace

    started = desk.sign_ins.start(Wish(method="google"))
    desk.sign_ins._save(replace(started, phase="storing"))
    assert desk.sign_ins.poll(started.id).phase == "storing"
    desk.sleep(700)
    assert "broke off" in str(failure(desk, started))
