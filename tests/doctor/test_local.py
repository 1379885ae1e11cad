"""Configuration, files, state and gunicorn, each with its fault provoked."""

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from kiroproxy.doctor import local
from kiroproxy.runtime import Runtime
from tests.doctor.helpers import REFRESH, credential, make, only


@pytest.fixture(autouse=True)
def in_an_empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GUNICORN_CMD_ARGS", "KIRO_AUTH_TOKEN", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.delenv(name, raising=False)


# ---- configuration -------------------------------------------------------------------------


def test_a_good_configuration(tmp_path: Path) -> None:
    assert only(local.check_config(make(tmp_path)), "ok")


def test_no_client_key(tmp_path: Path) -> None:
    """S77."""
    found = only(local.check_config(make(tmp_path, {"apiKey": ""})), "failure")
    assert "kiroproxy init" in found["remedy"]


def test_an_unknown_key(tmp_path: Path) -> None:
    found = only(local.check_config(make(tmp_path, {"prot": 1})), "warning")
    assert "prot" in found["message"]


def test_a_configuration_that_others_can_read(tmp_path: Path) -> None:
    patient = make(tmp_path)
    patient.config.config_path.chmod(0o644)
    found = only(local.check_config(patient), "warning")
    assert "0644" in found["message"]
    assert found["remedy"] == f"chmod 600 {patient.config.config_path}"


# ---- credentials ---------------------------------------------------------------------------


def test_good_files(tmp_path: Path) -> None:
    found = only(local.check_files(make(tmp_path)), "ok")
    assert "1 credentials" in found["message"]


def test_credentials_that_others_can_read(tmp_path: Path) -> None:
    patient = make(tmp_path)
    patient.config.credentials_path.chmod(0o640)
    found = only(local.check_files(patient), "warning")
    assert found["remedy"].startswith("chmod 600 ")


@pytest.mark.parametrize("credentials", [[], None])
def test_no_credentials(tmp_path: Path, credentials: list[object] | None) -> None:
    patient = make(tmp_path, {}, [])
    if credentials is None:
        patient.config.credentials_path.unlink()
    assert "kiroproxy login" in only(local.check_files(patient), "failure")["remedy"]


@pytest.mark.parametrize("content", ["{broken", '[{"authMethod": "social"}]', '"x"'])
def test_credentials_that_cannot_be_used(tmp_path: Path, content: str) -> None:
    patient = make(tmp_path)
    patient.config.credentials_path.write_text(content)
    found = [one for one in local.check_files(patient) if one.state == "failure"]
    assert found
    assert REFRESH not in str([one.as_json() for one in found])


def test_a_refresh_that_broke_off(tmp_path: Path) -> None:
    patient = make(tmp_path)
    (tmp_path / ".credentials.json.refresh-7.intent").write_text("{}")
    assert "#7" in only(local.check_files(patient), "warning")["message"]


def test_tokens_that_could_not_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = make(tmp_path)
    monkeypatch.setattr(patient.pool.store, "why_unwritable", lambda: "it is full")
    assert "it is full" in only(local.check_files(patient), "failure")["message"]


@pytest.mark.parametrize(("allowed", "state"), [(False, "failure"), (True, "warning")])
def test_a_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool, state: str
) -> None:
    patient = make(tmp_path, {"allowNetworkFilesystem": allowed})
    monkeypatch.setattr(local, "network_filesystem", lambda path: "nfs4")
    assert "nfs4" in only(local.check_files(patient), state)["message"]
    assert next(iter(local.check_state(patient))).state == state


# ---- state ---------------------------------------------------------------------------------


def test_a_state_directory_that_is_there_or_can_be_made(tmp_path: Path) -> None:
    assert only(local.check_state(make(tmp_path)), "ok")
    assert only(local.check_state(make(tmp_path, {"stateDir": "a/b/c"})), "ok")
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    place = "/proc" if os.geteuid() == 0 else "locked"
    if place == "locked":
        (tmp_path / place).mkdir(0o500)
    found = only(local.check_state(make(tmp_path, {"stateDir": place})), "failure")
    assert "stateDir" in found["remedy"]


def test_runtime_before_the_first_start_and_after(tmp_path: Path) -> None:
    patient = make(tmp_path)
    assert "makes it" in only(local.check_runtime(patient), "ok")["message"]
    Runtime.wipe(tmp_path / "runtime.db")
    assert only(local.check_runtime(patient), "ok")
    Runtime(tmp_path / "runtime.db").remember("a", "b")
    assert "sound" in only(local.check_runtime(patient), "ok")["message"]


def test_a_damaged_runtime(tmp_path: Path) -> None:
    (tmp_path / "runtime.db").write_bytes(b"SQLite format 3\0" + b"\x13" * 5000)
    found = only(local.check_runtime(make(tmp_path)), "failure")
    assert "delete" in found["remedy"]


def test_a_runtime_that_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "runtime.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE t (x)")
    db.execute("BEGIN EXCLUSIVE")
    assert "busy" in only(local.check_runtime(make(tmp_path)), "warning")["message"]
    db.close()


# ---- gunicorn ------------------------------------------------------------------------------


def test_the_packaged_configuration_is_good(tmp_path: Path) -> None:
    found = only(local.check_gunicorn(make(tmp_path)), "ok")
    assert str(local.PACKAGED) in found["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("worker_class = 'sync'", "sync"),
        ("workers = 3", "sync"),
        ("worker_class = 'gthread'\nthreads = 4", "gthread"),
        ("worker_class = 'gevent'", "not patched"),
        ("import no_such_module", "No module named"),
        ("raise SystemExit('kiroproxy: apiKey: none')", "apiKey: none"),
    ],
)
def test_a_configuration_of_the_operators_own(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(content)
    assert words in only(local.check_gunicorn(make(tmp_path)), "failure")["message"]


def test_arguments_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "-k gthread --threads 8")
    assert "gthread" in only(local.check_gunicorn(make(tmp_path)), "failure")["message"]


def test_a_configuration_that_would_not_start(tmp_path: Path) -> None:
    found = only(local.check_gunicorn(make(tmp_path, {"apiKey": ""})), "failure")
    assert "apiKey" in found["message"]


def test_a_configuration_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(local, "PROBE_S", 0.3)
    assert "too long" in only(local.check_gunicorn(make(tmp_path)), "failure")["message"]


def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S161."""
    patient = make(tmp_path)
    monkeypatch.setattr(local.sys, "platform", "win32")
    assert "WSL" in only(local.check_gunicorn(patient), "warning")["remedy"]


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = make(tmp_path)
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: None)
    assert "pip install gunicorn" in only(local.check_gunicorn(patient), "failure")["remedy"]


def test_a_patient_is_not_changed(tmp_path: Path) -> None:
    patient = make(tmp_path, {}, [credential()])
    before = json.loads(patient.config.credentials_path.read_text())
    for check in (local.check_config, local.check_files, local.check_state, local.check_runtime):
        list(check(replace(patient)))
    assert json.loads(patient.config.credentials_path.read_text()) == before
