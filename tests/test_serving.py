"""gunicorn's settings and hooks, and what a broken configuration does to a server (design 6)."""

import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig

from kiroproxy import serving
from kiroproxy.config import Config, load_config
from kiroproxy.errors import ConfigError
from kiroproxy.ledger.usage import Counts
from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import REPOSITORY, Proxy, clean_environment, gunicorn_command
from tests.simulation import Simulator

TINY_APP = """
def app(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [str(__import__("os").getppid()).encode()]
"""

CONFIGURATIONS = [REPOSITORY / "gunicorn.conf.py", serving.PACKAGED_CONFIGURATION]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration that serves; module state is put back."""
    (tmp_path / "config.json").write_text('{"apiKey": "k", "port": 1234}', "utf-8")
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv(serving.METRICS_VARIABLE, str(tmp_path / "runtime-metrics"))
    monkeypatch.setattr(serving, "_master", serving._Master())
    return tmp_path


class Log:
    """A gunicorn logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, level: str) -> Any:
        return lambda message, *args: self.lines.append(f"{level}: {message % args}")


def fake_server(**facts: Any) -> Any:
    standard = {"master_pid": 0, "reload": lambda: None, "cfg": GunicornConfig(), "worker_age": 0}
    return SimpleNamespace(log=Log(), **standard | facts)


def test_settings_follow_the_configuration(home: Path) -> None:
    """Q4 to Q9."""
    settings = serving.gunicorn_settings()
    assert settings["bind"] == "127.0.0.1:1234"
    assert settings["worker_class"] == "kiroproxy.worker.Worker"
    assert (settings["workers"], settings["worker_connections"]) == (2, 10000)
    assert settings["graceful_timeout"] == 600 + serving.STOP_MARGIN_S
    assert settings["control_socket_disable"] is True
    assert settings["loglevel"] == "info"
    assert settings["timeout"] > 7


def test_gunicorn_accepts_every_setting(home: Path) -> None:
    """An unknown name would be dropped silently."""
    accepted = GunicornConfig()
    for name, value in serving.gunicorn_settings().items():
        accepted.set(name, value)
        assert name in accepted.settings


@pytest.mark.parametrize(
    ("host", "bind"),
    [
        ("0.0.0.0", "0.0.0.0:1"),
        ("::1", "[::1]:1"),
        ("[::]", "[::]:1"),
        ("proxy.example", "proxy.example:1"),
        ("unix:/run/kiroproxy.sock", "unix:/run/kiroproxy.sock"),
    ],
)
def test_bind_address(host: str, bind: str) -> None:
    assert serving.bind_address(Config(host=host, port=1)) == bind


def test_metrics_directory_is_known_before_gunicorn_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q12; one that the operator chose stays."""
    serving.gunicorn_settings()
    assert os.environ[serving.METRICS_VARIABLE] == str(home / "runtime-metrics")
    monkeypatch.setenv(serving.METRICS_VARIABLE, "/chosen")
    serving.gunicorn_settings()
    assert os.environ[serving.METRICS_VARIABLE] == "/chosen"


def test_old_metrics_are_wiped(tmp_path: Path) -> None:
    """Q12."""
    directory = tmp_path / "state" / "metrics"
    serving.wipe_metrics(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for name in ("counter_1.db", "gauge_liveall_2.db", "notes.txt"):
        (directory / name).touch()
    serving.wipe_metrics(directory)
    assert [file.name for file in directory.iterdir()] == ["notes.txt"]


def test_housekeeping_goes_on_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round's fault is logged and the next one comes."""
    monkeypatch.setattr(serving, "HOUSEKEEPING_S", 0.001)
    rounds: list[int] = []
    over = threading.Event()

    def housekeep() -> None:
        rounds.append(1)
        if len(rounds) == 2:
            raise OSError("the disk is gone")
        if len(rounds) == 4:
            over.set()
            threading.Event().wait()  # for ever: the thread ends with the process

    pool = SimpleNamespace(housekeep=housekeep)
    ledger = SimpleNamespace(
        housekeep=lambda: None, start=lambda: None, problems=list, usage=SimpleNamespace()
    )
    ledger.usage.counts = Counts()
    watched: list[bool] = []
    groups = SimpleNamespace(watch=lambda: watched.append(True))
    parts = SimpleNamespace(pool=pool, ledger=ledger, groups=groups)
    app = SimpleNamespace(extensions={"kiroproxy": parts})
    worker = SimpleNamespace(wsgi=app, log=Log())
    serving._keep_house(worker)
    assert over.wait(5)
    assert watched == [True]
    assert worker.log.lines == ["exception: housekeeping failed"]
    serving._keep_house(SimpleNamespace(wsgi=object(), log=Log()))  # another application: nothing


HASTY = """
import runpy
globals().update(runpy.run_path({conf!r}))
from kiroproxy import serving
from kiroproxy.credentials import pool
serving.HOUSEKEEPING_S = pool.HOUSEKEEPING_S = 0.3
"""


def test_s101_ageing_tokens_are_renewed_between_requests(tmp_path: Path) -> None:
    """By one worker; only those that were used; the requests after it find a new one."""
    conf = tmp_path / "hasty.conf.py"
    conf.write_text(HASTY.format(conf=str(REPOSITORY / "gunicorn.conf.py")), "utf-8")
    command = [sys.executable, "-m", "gunicorn", "-c", str(conf), "wsgi:app"]
    ages_at = datetime.now(UTC) + timedelta(minutes=10, seconds=6)
    pool = [
        credential(
            id=n,
            refreshToken=LONG_TOKEN + str(n),
            accessToken=f"access-{n}",
            expiresAt=ages_at.isoformat(),
        )
        for n in (1, 2)
    ]
    with (
        Simulator() as sim,
        Proxy(tmp_path, {}, pool, upstream=sim.url, command=command) as proxy,
    ):
        assert post(proxy, body()).status_code == 200
        assert sim.state()["refreshes"] == 0, "it is fresh"
        sim.wait_for(15, refreshes=1)
        time.sleep(1.5)
        state = sim.state()
        assert (state["refreshes"], state["generateCalls"]) == (1, 1)
        assert post(proxy, body()).status_code == 200
        [_, last] = sim.requests("/generateAssistantResponse")
        assert last["bearer"].startswith("simulated-access-")
        assert sim.state()["refreshes"] == 1
        tokens = [one["accessToken"] for one in json.loads(proxy.credentials_path.read_text())]
        assert tokens[1] == "access-2", "nobody uses it"


def test_no_exception_leaves_a_hook() -> None:
    """Q8."""
    server = fake_server()

    @serving.survivable
    def broken(server: Any, worker: Any) -> None:
        raise OSError("disk full")

    broken(server, None)
    assert server.log.lines == ["exception: hook broken failed"]
    for hook in (serving.on_starting, serving.when_ready, serving.child_exit):
        assert hasattr(hook, "__wrapped__")


def test_a_running_server_keeps_its_state(home: Path) -> None:
    """Neither an upgrade in place (USR2) nor a second server wipes what a first one uses."""
    metrics = home / "runtime-metrics" / "counter_1.db"
    metrics.parent.mkdir()
    metrics.touch()
    serving.gunicorn_settings()
    serving.on_starting(fake_server(master_pid=4711))
    assert metrics.exists()
    first, second = fake_server(), fake_server()
    serving.on_starting(first)
    assert not metrics.exists()
    metrics.touch()
    serving.on_starting(second)
    assert metrics.exists()
    assert "another server" in second.log.lines[0]


def test_start_says_where_everything_lies(home: Path) -> None:
    """X15."""
    (home / "config.json").write_text('{"apiKey": "k", "typo": 1}', "utf-8")
    serving.gunicorn_settings()
    server = fake_server()
    serving.when_ready(server)
    assert f"database {home}/data/kiroproxy.db" in server.log.lines[0]
    assert "typo is not a setting" in server.log.lines[1]


def test_reload_with_a_broken_configuration_keeps_the_old_one(home: Path) -> None:
    serving.gunicorn_settings()
    reloads: list[int] = []
    server = fake_server(reload=lambda: reloads.append(1))
    serving.when_ready(server)
    (home / "config.json").write_text('{"apiKey": ', "utf-8")
    server.reload()
    assert not reloads
    assert "the running configuration stays" in server.log.lines[-1]
    (home / "config.json").write_text('{"apiKey": "k"}', "utf-8")
    server.reload()
    assert reloads == [1]


def test_a_reload_does_not_wait_for_the_old_workers(home: Path) -> None:
    """Else a stop, or a worker's death, would go unheard for as long as a stream lasts."""
    serving.gunicorn_settings()
    limits: list[int] = []
    cfg = GunicornConfig()
    server = fake_server(cfg=cfg, worker_age=2)
    server.reload = lambda: (serving.on_reload(server), limits.append(cfg.graceful_timeout))
    serving.when_ready(server)
    server.reload()
    assert limits == [0]
    assert cfg.graceful_timeout == 600 + serving.STOP_MARGIN_S
    worker = SimpleNamespace(cfg=cfg)
    gc_was_on = serving.gc.isenabled()
    serving.post_fork(server, worker)
    if gc_was_on:
        serving.gc.enable()
    assert worker.grace_s == 600
    assert cfg.graceful_timeout == 600 + serving.KILL_S


@pytest.mark.parametrize(
    ("ages", "listeners", "started"),
    [
        ([1, 2, 4], ["a socket"], 1),  # one of two new ones is gone, the old ones finish
        ([1, 2, 3, 4], ["a socket"], 0),
        ([1, 4], ["a socket"], 1),
        ([4], ["a socket"], 0),  # gunicorn sees this itself
        ([1, 2, 4], [], 0),  # the server stops
    ],
)
def test_a_dead_worker_is_replaced_while_old_ones_finish(
    home: Path, ages: list[int], listeners: list[str], started: int
) -> None:
    serving._master.outdated = 2
    spawned: list[int] = []
    server = fake_server(
        WORKERS={age: SimpleNamespace(age=age) for age in ages},
        LISTENERS=listeners,
        num_workers=2,
        spawn_worker=lambda: spawned.append(1),
    )
    serving._replace(server)
    assert len(spawned) == started


def test_read_only_credentials_do_not_prevent_a_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted secret: state goes elsewhere, the same place after a reload (design 5, rule 3)."""
    real = serving.tempfile.TemporaryFile

    def refuse(*, dir: Path) -> Any:
        if Path(dir) == home:
            raise PermissionError(13, "Permission denied")
        return real(dir=dir)

    monkeypatch.setattr(serving.tempfile, "TemporaryFile", refuse)
    serving.gunicorn_settings()
    config = serving._master.config
    assert config is not None
    assert config.state_dir != home
    assert "cannot be written" in config.warnings[0]
    assert serving.checked_config().state_dir == config.state_dir
    monkeypatch.setenv("KIROPROXY_STATE_DIR", str(home))
    with pytest.raises(ConfigError, match=r"stateDir: .* cannot be written: Permission denied"):
        serving.checked_config()
    config.state_dir.rmdir()


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=["checkout", "packaged"])
def test_patching_comes_first(configuration: Path, home: Path) -> None:
    """Q10: nothing that keeps unpatched classes is imported before."""
    script = """
import runpy, sys
from gevent import monkey
patch_all = monkey.patch_all
def patch():
    print([name for name in ("urllib3", "requests", "flask", "kiroproxy") if name in sys.modules])
    patch_all()
monkey.patch_all = patch
settings = runpy.run_path(sys.argv[1])
import ssl, socket
print(settings["worker_class"], socket.socket.__module__, ssl.SSLContext.__module__)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(configuration)],
        capture_output=True,
        text=True,
        env=clean_environment(),
        cwd=home,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "kiroproxy.worker.Worker gevent._socket3 gevent.ssl"]


@pytest.mark.flow
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{}", "kiroproxy init"),
        ('{"apiKey": "k", "port": "http"}', "port: must be a whole number"),
        ('{"apiKey": ', "config.json"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [gunicorn_command(), [sys.executable, "-m", "kiroproxy", "serve"], serving.command_line()],
    ids=["gunicorn", "serve", "packaged"],
)
def test_fatal_configuration_ends_with_one_sentence(
    command: list[str], document: str, message: str, tmp_path: Path
) -> None:
    """S77, Q8: exit 1 at once, no respawning, no traceback."""
    (tmp_path / "config.json").write_text(document, "utf-8")
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), cwd=tmp_path, timeout=20
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.flow
def test_a_server_survives_its_hooks_workers_and_reloads(tmp_path: Path) -> None:
    """A killed worker is replaced, a broken file is not loaded, a good one is."""
    (tmp_path / "tiny.py").write_text(TINY_APP, "utf-8")
    command = [*gunicorn_command("tiny:app"), "--pythonpath", str(tmp_path)]
    with Proxy(tmp_path, workers=1, command=command) as proxy:
        good = proxy.config
        proxy.config_path.write_text("{", "utf-8")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for_log("the running configuration stays")
        children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
        if children.exists():  # Linux
            os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
            proxy.wait_for_log("Booting worker", count=2)
        proxy.write_config(good | {"workers": 2})
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for_log("Booting worker", count=4 if children.exists() else 3)
        proxy.wait_for_health()
        assert proxy.process.poll() is None


@pytest.mark.flow
def test_two_servers_share_a_state_directory(tmp_path: Path) -> None:
    """The second wipes nothing, also after a worker of the first has gone; a third starts anew."""
    (tmp_path / "tiny.py").write_text(TINY_APP, "utf-8")
    command = [*gunicorn_command("tiny:app"), "--pythonpath", str(tmp_path)]
    mark = tmp_path / "runtime-metrics" / "counter_1.db"
    with Proxy(tmp_path, workers=1, command=command) as first:
        assert "another server" not in first.log()
        first.process.send_signal(signal.SIGHUP)
        first.wait_for_log("Worker exiting")
        mark.touch()
        with Proxy(tmp_path, workers=1, command=command) as second:
            second.wait_for_log("another server uses")
    assert mark.exists()
    with Proxy(tmp_path, workers=1, command=command):
        assert not mark.exists()
    assert (tmp_path / "runtime.db").exists()


@pytest.mark.flow
def test_workers_take_the_configuration_of_their_master(tmp_path: Path) -> None:
    """A file edited after the start counts from the next reload on, for all workers at once."""
    code = "from kiroproxy import serving\n" + TINY_APP.replace(
        '__import__("os").getppid()', "serving._master.config.region"
    )
    (tmp_path / "tiny.py").write_text(code, "utf-8")
    command = [*gunicorn_command("tiny:app"), "--pythonpath", str(tmp_path)]
    with Proxy(tmp_path, {"region": "eu-central-1"}, workers=1, command=command) as proxy:
        assert fetch(proxy) == "eu-central-1"
        proxy.write_config(proxy.config | {"region": "us-west-2"})
        assert fetch(proxy) == "eu-central-1"
        proxy.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while fetch(proxy) != "us-west-2":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def fetch(proxy: Proxy) -> str:
    from urllib.request import urlopen

    with urlopen(proxy.url, timeout=10) as answer:
        return str(answer.read().decode())


def test_the_command_line_override_reaches_the_server(home: Path) -> None:
    """S87: `serve --port` is stronger than the file that the master reads."""
    from kiroproxy.config import child_environment

    config = load_config(environ=child_environment({"port": 4321}), cwd=home)
    assert (config.port, json.loads((home / "config.json").read_text())["port"]) == (4321, 1234)


def test_network_file_systems_are_refused_unless_allowed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4: locks may not hold there, and a rotated token may be lost."""
    monkeypatch.setattr(serving, "network_filesystem", lambda path: "nfs4")
    with pytest.raises(ConfigError, match=r"nfs4.*allowNetworkFilesystem"):
        serving.checked_config()
    monkeypatch.setenv("KIROPROXY_ALLOW_NETWORK_FILESYSTEM", "true")
    serving.checked_config()


def test_kiro2apis_database_is_named(home: Path) -> None:
    """KIRO_DB_PATH as that program's users have it: it works, and says what does not."""
    path = home / "data" / "kiro2api.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE tokens (refresh_token TEXT, group_name TEXT)")
    config = load_config({"config_path": home / "config.json"}, environ={"KIRO_DB_PATH": str(path)})
    (home / "credentials.json").write_text(json.dumps([credential()]), "utf-8")
    (home / "credentials.json").chmod(0o600)
    [warning] = serving.prepare_credentials(config)
    assert f"kiroproxy credentials import {path}" in warning


def test_a_server_without_credentials_says_what_to_do(home: Path) -> None:
    """S97: it starts."""
    config = load_config({"config_path": home / "config.json"}, environ={})
    [warning] = serving.prepare_credentials(config)
    assert f"{config.credentials_path} holds no credential: `kiroproxy login`" in warning
    (home / "credentials.json").write_text(json.dumps([{"authMethod": "idc"}]), "utf-8")
    assert not [one for one in serving.prepare_credentials(config) if "kiroproxy login" in one]
