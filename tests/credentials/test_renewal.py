"""The refresh protocol of design 5: with a scripted auth server, then with real processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials import failpoints
from kiroproxy.credentials import renewal as module
from kiroproxy.credentials.model import Credential, derive_machine_id
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import Refresher, RefreshFailure, RefreshSettings
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Runtime
from kiroproxy.transport import Transport
from tests.credentials.auth_server import AuthServer
from tests.credentials.bench import HOUR, Auth, Bench

WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.settle()
    bench.runtime.close()


# ---- when to refresh -----------------------------------------------------------------------


def test_a_fresh_token_is_used_and_nothing_is_written(bench: Bench) -> None:
    bench.add(HOUR)
    before = bench.path.stat()
    assert bench.bearer() == "at-old"
    assert bench.auth.redeemed == []
    assert bench.path.stat() == before


@pytest.mark.parametrize("left", [None, timedelta(0), -HOUR, timedelta(minutes=4)])
def test_a_due_token_is_refreshed_before_use(bench: Bench, left: timedelta | None) -> None:
    """S101, X12."""
    bench.add(left)
    assert bench.bearer() == "at-1"
    assert bench.bearer() == "at-1"
    assert bench.auth.redeemed == ["rt-old-1"]
    stored = bench.stored()
    assert (stored.refresh_token, stored.generation) == ("rt-1", 1)


def test_an_ageing_token_is_refreshed_without_waiting(bench: Bench) -> None:
    """S101; a request never waits for a refresh that is not needed."""
    bench.add(timedelta(minutes=9))
    bench.auth.gate.clear()
    assert bench.bearer() == "at-old"
    bench.auth.gate.set()
    bench.settle()
    assert bench.bearer() == "at-1"


def test_a_slow_auth_server_does_not_hold_up_a_living_token(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    bench.add(timedelta(minutes=4))
    bench.auth.gate.clear()
    assert bench.bearer() == "at-old"
    bench.auth.gate.set()


def test_short_lives_do_not_mean_a_refresh_per_request(bench: Bench) -> None:
    bench.auth.life = timedelta(minutes=2)
    bench.add(None)
    assert {bench.bearer() for _ in range(5)} == {"at-1"}


def test_an_api_key_is_never_refreshed(bench: Bench) -> None:
    bench.add(auth_method="api_key", kiro_api_key="ksk_example", refresh_token=None)
    assert bench.bearer() == "ksk_example"
    with pytest.raises(e.RefreshFailed):
        bench.pool.force_refresh(bench.stored(), "ksk_example")


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_stepped_clock_costs_one_refresh(bench: Bench, step: timedelta) -> None:
    """issue 4."""
    bench.add(timedelta(minutes=30))
    bench.now += step
    for _ in range(3):
        bench.bearer()
        bench.bearer(bench.another_process())
    assert len(bench.auth.redeemed) <= 1


def test_threads_share_one_refresh(bench: Bench) -> None:
    bench.add(None)
    got: list[str | None] = []
    bench.auth.gate.clear()
    threads = [threading.Thread(target=lambda: got.append(bench.bearer())) for _ in range(8)]
    for thread in threads:
        thread.start()
    bench.auth.gate.set()
    for thread in threads:
        thread.join()
    assert got == ["at-1"] * 8
    assert len(bench.auth.redeemed) == 1


# ---- forced refresh ------------------------------------------------------------------------


def test_a_refused_token_is_replaced(bench: Bench) -> None:
    """S102."""
    one = bench.add(HOUR)
    assert bench.pool.force_refresh(one, "at-old").bearer == "at-1"
    assert bench.auth.redeemed == ["rt-old-1"]


def test_if_the_store_has_another_token_no_call_is_made(bench: Bench) -> None:
    """S102, rule 2."""
    one = bench.add(HOUR)
    bench.another_process().force_refresh(one, "at-old")
    assert bench.pool.force_refresh(one, "at-old").bearer == "at-1"
    assert len(bench.auth.redeemed) == 1


def test_the_frozen_machine_id_survives_the_rotation(tmp_path: Path) -> None:
    """protocol 5.6."""
    path = tmp_path / "credentials.json"
    path.write_text('{"refreshToken": "rt-0"}')
    with AuthServer() as auth:
        refresher = Refresher(Transport(), RefreshSettings(social_auth_url=auth.url))
        pool = Pool(FileStore(path), refresher, Runtime(tmp_path / "runtime.db"))
        pool.lease("m").release()
    stored = json.loads(path.read_text())
    assert stored["refreshToken"] == "rt-1"
    assert stored["machineId"] == derive_machine_id(Credential(refresh_token="rt-0"))


# ---- failures ------------------------------------------------------------------------------

GRANT = RefreshFailure("the auth server answered 400 invalidgrant", disable="InvalidRefreshToken")
FAULT = RefreshFailure("the auth server answered 503", unconfirmed=True)


def test_a_failed_refresh_lets_a_living_token_serve(bench: Bench) -> None:
    """S101; and it is not tried again at every request."""
    bench.add(timedelta(minutes=4))
    bench.auth.script = [FAULT] * 9
    assert [bench.bearer() for _ in range(3)] == ["at-old"] * 3
    assert len(bench.auth.redeemed) == 1
    status = bench.pool.status()
    assert status.usable == 1
    assert any("503" in one for one in status.problems)


def test_an_expired_token_and_no_refresh_is_no_credential(bench: Bench) -> None:
    bench.add(None)
    bench.auth.script = [FAULT]
    with pytest.raises(e.NoCredential, match="503") as error:
        bench.bearer()
    assert error.value.retry_after_s is not None
    assert not bench.stored().disabled
    assert bench.pool.status().usable == 0


def test_a_refusal_for_good_means_login_needed(bench: Bench) -> None:
    """S103, rule 5: marked, never deleted, never tried again; the next credential serves."""
    bench.add(None)
    bench.add(HOUR, priority=1)
    bench.auth.script = [GRANT]
    assert [bench.bearer() for _ in range(3)] == ["at-old"] * 3
    assert len(bench.auth.redeemed) == 1
    stored = bench.stored()
    assert (stored.disabled, stored.disabled_reason) == (True, "InvalidRefreshToken")
    assert stored.refresh_token == "rt-old-1"
    assert bench.another_process().status().usable == 1
    assert any("log in again" in one for one in bench.pool.status().problems)


def test_a_token_replaced_meanwhile_is_tried_instead(bench: Bench) -> None:
    """Rule 5: invalid_grant first re-reads the store."""
    bench.add(None)

    def refuse(credential: Credential) -> RefreshFailure:
        FileStore(bench.path).edit(
            lambda all_: [replace(one, refresh_token="person") for one in all_]
        )
        return GRANT

    bench.auth.script = [refuse]
    assert bench.bearer() == "at-2"
    assert bench.auth.redeemed == ["rt-old-1", "person"]
    assert not bench.stored().disabled


def test_a_fresh_token_that_appears_meanwhile_is_used(bench: Bench) -> None:
    bench.add(None)

    def refuse(credential: Credential) -> RefreshFailure:
        more: dict[str, Any] = {"refresh_token": "person", "access_token": "theirs"}
        FileStore(bench.path).edit(
            lambda all_: [replace(one, expires_at=bench.now + HOUR, **more) for one in all_]
        )
        return GRANT

    bench.auth.script = [refuse]
    assert bench.bearer() == "theirs"
    assert len(bench.auth.redeemed) == 1


def test_refusals_in_a_row_disable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """S103: TooManyRefreshFailures after three; faults of the server do not count."""
    bench.add(None)
    refusal = RefreshFailure("the auth server answered 401", counts=True)
    bench.auth.script = [refusal, FAULT, refusal, refusal, refusal]
    for _ in range(5):
        with pytest.raises(e.NoCredential):
            bench.bearer()
        for pause in bench.pool.renewals._pauses.values():
            pause.until = 0
    assert bench.stored().disabled_reason == "TooManyRefreshFailures"
    assert len(bench.auth.redeemed) == 5


def test_the_servers_retry_after_is_kept(bench: Bench) -> None:
    bench.add(None)
    bench.auth.script = [RefreshFailure("the auth server answered 429", retry_after_s=40)]
    with pytest.raises(e.NoCredential) as error:
        bench.bearer()
    assert error.value.retry_after_s == pytest.approx(40, abs=1)
    assert not bench.stored().disabled


def test_a_store_that_cannot_note_the_end_does_not_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(None)
    bench.auth.script = [GRANT]

    def locked(change: object) -> None:
        raise e.StoreLocked("held")

    monkeypatch.setattr(bench.store, "edit", locked)
    for _ in range(3):
        with pytest.raises(e.NoCredential, match="log in again"):
            bench.bearer()
    assert len(bench.auth.redeemed) == 1


def test_a_rotated_token_that_cannot_be_stored_is_kept_and_stored_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old token is spent: it must not be redeemed again."""
    bench.add(None)
    real = FileStore._rewrite

    def locked(self: FileStore, *arguments: Any) -> Any:
        raise e.StoreLocked("held")

    monkeypatch.setattr(FileStore, "_rewrite", locked)
    assert bench.bearer() == "at-1"
    assert any("not stored yet" in one for one in bench.pool.status().problems)
    assert bench.bearer() == "at-1"
    bench.settle()
    bench.now += 2 * HOUR  # now it would need a refresh, yet the store still does not take it
    bench.pool.renewals._pauses.clear()
    with pytest.raises(e.NoCredential):
        bench.bearer()
    bench.now -= 2 * HOUR
    assert bench.auth.redeemed == ["rt-old-1"]
    monkeypatch.setattr(FileStore, "_rewrite", real)
    bench.pool.renewals._pauses.clear()
    bench.bearer()
    bench.settle()
    assert bench.stored().refresh_token == "rt-1"
    assert bench.pool.status().problems == ()


def test_a_bug_in_the_redeemer_wakes_the_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(None)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def bug(credential: Credential) -> RefreshFailure:
        raise ZeroDivisionError

    bench.auth.script = [bug]
    with pytest.raises(e.NoCredential, match="broke off"):
        bench.bearer()


# ---- rule 3: no room, no refresh -----------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> None:
    (place / "ballast").write_bytes(bytes(200 * 1024))


def make_read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


@pytest.mark.parametrize("spoil", [fill, make_read_only])
def test_without_a_place_for_the_answer_no_call_is_made(
    small: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Rule 3: the old token serves on until it really expires."""
    path = small / "credentials.json"
    soon = datetime.now(UTC) + timedelta(minutes=3)
    content = {"id": 1, "refreshToken": "rt-0", "accessToken": "old", "expiresAt": str(soon)}
    path.write_text(json.dumps(content))
    spoil(small)
    auth = Auth()
    now = [datetime.now(UTC)]
    runtime = Runtime(tmp_path / "runtime.db")
    pool = Pool(FileStore(path), auth, runtime, clock=lambda: now[0])
    assert pool.lease("m").credential.bearer == "old"
    status = pool.status()
    assert (status.usable, status.store_writable) == (1, False)
    now[0] = soon + timedelta(seconds=1)
    with pytest.raises(e.NoCredential):
        pool.lease("m")
    assert pool.status().usable == 0
    assert auth.redeemed == []
    assert pool.drain(10)
    assert json.loads(path.read_text()) == content
    runtime.close()


# ---- real processes under gevent -----------------------------------------------------------


def start(place: Path, auth: AuthServer, **more: Any) -> "subprocess.Popen[str]":
    task = {
        "store": str(place / "credentials.json"),
        "runtime": str(place / "runtime.db"),
        "auth": auth.url,
        "greenlets": 1,
    }
    environment = {**os.environ, "PYTHONPATH": str(WORKER.parents[2])}
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(task | more)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(worker: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.json"
    expired = "2020-01-01T00:00:00Z"
    path.write_text(
        json.dumps([{"refreshToken": "rt-0", "accessToken": "at-0", "expiresAt": expired, "x": 1}])
    )
    Runtime.wipe(tmp_path / "runtime.db")
    return tmp_path


def read(place: Path) -> dict[str, Any]:
    (entry,) = json.loads((place / "credentials.json").read_text())
    assert isinstance(entry, dict)
    return entry


def test_four_processes_of_fifty_requests_refresh_once(place: Path) -> None:
    """issue 2: exactly one refresh, the file valid and 0600, the old token never reused."""
    with AuthServer() as auth:
        real = auth.script

        def slow(body: dict[str, Any]) -> Any:
            time.sleep(0.3)
            return real(body)

        auth.script = slow
        workers = [start(place, auth, greenlets=50, barrier=True) for _ in range(4)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdin is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        results = [finish(one) for one in workers]
    assert Counter(token for one in results for token in one["tokens"]) == {"at-1": 200}
    assert [one["errors"] for one in results] == [[]] * 4
    assert (auth.issued, auth.reused, len(auth.requests)) == (1, 0, 1)
    entry = read(place)
    assert (entry["refreshToken"], entry["generation"], entry["x"]) == ("rt-1", 1, 1)
    path = place / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert max(one["stall"] for one in results) < 1, "a lock that is waited for blocks no hub"


def test_a_client_that_goes_away_does_not_kill_the_refresh(place: Path) -> None:
    """Else the rotated token would be lost with the request that asked for it."""
    with AuthServer() as auth:

        def slow(body: dict[str, Any]) -> None:
            time.sleep(0.5)

        auth.script = slow
        result = finish(start(place, auth, greenlets=5, impatient=0.25))
    assert result["tokens"] == []
    assert result["drained"]
    assert (auth.issued, read(place)["refreshToken"]) == (1, "rt-1")


@pytest.mark.parametrize("failpoint", failpoints.ALL)
def test_killed_at_each_failpoint(place: Path, failpoint: str) -> None:
    """Rule 5: at most one stale redeem, and only between the answer and the write."""
    lost = failpoint in (failpoints.AFTER_ANSWER, failpoints.AFTER_TEMP_WRITE)
    with AuthServer() as auth:
        worker = start(place, auth, failpoint=failpoint)
        worker.communicate(timeout=60)
        assert worker.returncode == -signal.SIGKILL
        entry = read(place)
        assert entry["refreshToken"] == ("rt-1" if failpoint == failpoints.AFTER_RENAME else "rt-0")
        FileStore(place / "credentials.json").prepare()
        results = [finish(one) for one in [start(place, auth, greenlets=5) for _ in range(2)]]
        tokens = {token for one in results for token in one["tokens"]}
        entry = read(place)
        assert auth.reused == (1 if lost else 0)
        assert auth.issued == 1
        if lost:
            assert tokens == set()
            assert (entry["disabled"], entry["disabledReason"]) == (True, "InvalidRefreshToken")
            assert entry["refreshToken"] == "rt-0", "never deleted"
        else:
            assert tokens == {"at-1"}
            assert entry["refreshToken"] == "rt-1"
    assert entry["x"] == 1


def test_a_dead_holder_frees_the_locks_at_once(place: Path) -> None:
    with AuthServer() as auth:
        finish_at = time.monotonic() + 10
        worker = start(place, auth, failpoint=failpoints.AFTER_LOCK)
        worker.communicate(timeout=60)
        assert finish(start(place, auth))["tokens"] == ["at-1"]
        assert time.monotonic() < finish_at


def test_a_person_may_renew_what_is_disabled(bench: Bench) -> None:
    one = bench.add(HOUR, disabled=True, disabled_reason="Manual")
    with pytest.raises(e.RefreshFailed, match="Manual"):
        bench.pool.renewals.force(one, "at-old")
    bench.pool.renewals.forget(1)
    assert bench.pool.renewals.force(one, "at-old", anyway=True).access_token == "at-1"
    assert bench.stored(1).disabled_reason == "Manual"
