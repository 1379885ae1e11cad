"""How gunicorn runs this program: its settings, each with its reason, and its hooks.

`gunicorn.conf.py` and its packaged twin patch first and then take `gunicorn_settings()`. The
master checks the configuration before anything forks (Q8) and its workers take the master's copy:
a file that is edited meanwhile counts from the next reload on, for all of them at once.
"""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
from flask import Flask

from kiroproxy.config import Config, load_config, require_client_key
from kiroproxy.credentials.groups import GroupBook
from kiroproxy.credentials.imports import import_credentials, read_auth_token
from kiroproxy.credentials.kiro2api_db import is_kiro2api
from kiroproxy.credentials.stores.durable import network_filesystem
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import ConfigError, CredentialError, DatabaseError

if TYPE_CHECKING:
    from kiroproxy.ledger.parts import Ledger

YOUNG_OBJECTS = 10_000
"""So many new containers until the garbage collector looks for cycles among them. Python's 700 are
used up several times in a request; these come to a megabyte."""
M_TRIM_THRESHOLD, M_TOP_PAD = -1, -2
"""glibc's malloc.h."""
HEAP_KEPT_BYTES = 32 * 1024 * 1024
HEAP_STEP_BYTES = 1024 * 1024
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
METRICS_DIRECTORY = "runtime-metrics"
HOUSEKEEPING_S = 20.0
"""Well below the five minutes in which a token that ages must be renewed (S101)."""
COUNTING_S = 2.0
"""So old are the metrics of the ledger at most."""
LEDGER_START_S = 1.0
"""After the worker's start: opening the database imports SQLAlchemy, and first come requests."""
DRAIN_S = 40
"""Longer than a refresh may take: 5 s to connect, 30 s to answer."""
KILL_S = 3
"""After `gracefulTimeoutSec`, until a worker kills what has not taken its end yet (worker.py)."""
STOP_MARGIN_S = KILL_S + DRAIN_S
"""A stopping server is gone so many seconds after `gracefulTimeoutSec`: whoever stops it with a
time limit of its own (systemd, a container engine) must wait for longer."""
PACKAGED_CONFIGURATION = Path(__file__).with_name("gunicorn.conf.py")

Hook = Callable[..., None]


@dataclass
class _Master:
    """What the gunicorn master keeps, and its workers inherit by fork."""

    config: Config | None = None
    lock: filelock.BaseFileLock | None = None
    outdated: int = 0
    """Workers up to this age were there before the last reload, and only finish what they have."""


_master = _Master()


def application() -> Flask:
    """The WSGI application on the configuration that the master has checked."""
    from kiroproxy.app import create_app

    return create_app(_master.config)


def under_gunicorn() -> bool:
    """Whether a gunicorn master has read its settings in this process, or its parent."""
    return _master.config is not None


def command_line() -> list[str]:
    """What `kiroproxy serve` turns into; works from a wheel, where no wsgi.py lies about."""
    return [sys.executable, "-m", "gunicorn", "-c", f"file:{PACKAGED_CONFIGURATION}"]


def checked_config() -> Config:
    """Load the configuration as a server needs it.

    Raises:
        ConfigError: no client key (S77), an unusable value, or no place for runtime state.
    """
    config = load_config()
    require_client_key(config)
    if config.auth_token:
        read_auth_token(config.auth_token)
    config = _with_writable_state(config)
    refuse_network_filesystems(config)
    return config


def refuse_network_filesystems(config: Config) -> None:
    """Locks on which tokens depend do not hold there; whoever knows better may allow it.

    Raises:
        ConfigError: names the place and the setting.
    """
    if config.allow_network_filesystem:
        return
    places = {"credentials": config.credentials_path, "stateDir": config.state_dir}
    for setting, path in places.items():
        if kind := network_filesystem(path):
            raise ConfigError(
                setting,
                f"{path} lies on a network file system ({kind}), where locks may not hold and a "
                "rotated token may be lost: use a local directory, or set allowNetworkFilesystem",
            )


def gunicorn_settings() -> dict[str, Any]:
    """Everything that gunicorn is told.

    A configuration that cannot be served ends the process with one line on stderr: raised from
    a worker it would make gunicorn respawn for ever (Q8).
    """
    try:
        config = checked_config()
    except ConfigError as error:
        sys.stderr.write(f"kiroproxy: {error}\n")
        raise SystemExit(1) from None
    _master.config = config
    os.environ.setdefault(METRICS_VARIABLE, str(config.state_dir / METRICS_DIRECTORY))  # Q12
    memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes an unnamed file there
    return {
        "wsgi_app": "kiroproxy.serving:application()",
        "proc_name": "kiroproxy",
        "bind": bind_address(config),
        "workers": config.workers,
        "worker_class": "kiroproxy.worker.Worker",
        # A stream holds its connection for minutes: the default of 1000 is soon used up.
        "worker_connections": config.worker_connections,
        # Also the deadline of request headers under gevent (Q4); above nginx's 60 s upstream
        # keepalive, so that it is never we who close a connection that nginx is about to use.
        "keepalive": 75,
        # A slow stream does not trip it, a hub that is stuck does (Q5).
        "timeout": 120,
        # How long the master waits for its workers when it stops; theirs is set after the fork.
        "graceful_timeout": config.graceful_timeout_sec + STOP_MARGIN_S,
        # gunicorn 27 would open one beside the server (Q9).
        "control_socket_disable": True,
        # The heartbeat file must not wait for a busy disk.
        "worker_tmp_dir": str(memory) if os.access(memory, os.W_OK) else None,
        "accesslog": None,  # the application logs requests, with their ids
        "errorlog": "-",
        "loglevel": {"warn": "warning"}.get(config.log_level, config.log_level),
        "on_starting": on_starting,
        "when_ready": when_ready,
        "on_reload": on_reload,
        "pre_exec": pre_exec,
        "post_fork": post_fork,
        "child_exit": child_exit,
        "worker_exit": worker_exit,
        "post_worker_init": post_worker_init,
    }


def bind_address(config: Config) -> str:
    """Host and port as gunicorn wants them; IPv6 in brackets, unix sockets as they are."""
    if config.host.startswith("unix:"):
        return config.host
    host = f"[{config.host.strip('[]')}]" if ":" in config.host else config.host
    return f"{host}:{config.port}"


def _with_writable_state(config: Config) -> Config:
    """Make sure of the state directory; one that was not chosen may be replaced by a fresh one.

    Credentials often lie in a read-only mount, and runtime state is wiped at start anyway.
    """
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.state_dir):
            return config
    except OSError as error:
        if config.origins.get("state_dir") != "default":
            reason = error.strerror or error
            raise ConfigError(
                "stateDir", f"{config.state_dir} cannot be written: {reason}"
            ) from None
    running = _master.config
    reuse = running is not None and running.credentials_path == config.credentials_path
    place = running.state_dir if running and reuse else Path(tempfile.mkdtemp(prefix="kiroproxy-"))
    warning = f"{config.state_dir} cannot be written; runtime state goes to {place}"
    return dataclasses.replace(config, state_dir=place, warnings=(*config.warnings, warning))


# ---- hooks ---------------------------------------------------------------------------------


def survivable(hook: Hook) -> Hook:
    """Log what goes wrong in a hook: an exception would kill the master (Q8)."""

    @functools.wraps(hook)
    def run(server: Any, *args: Any) -> None:
        try:
            hook(server, *args)
        except Exception:
            server.log.exception("hook %s failed", hook.__name__)

    return run


@survivable
def on_starting(server: Any) -> None:
    """Start from a clean slate, unless somebody else is still writing on it.

    That is the old master during an upgrade in place (USR2), or a second server that shares the
    state directory.
    """
    config = _master.config
    if config is None or server.master_pid:
        return
    lock = filelock.FileLock(config.state_dir / "runtime.lock", timeout=0)
    try:
        _master.lock = lock.acquire().lock
    except filelock.Timeout:
        server.log.warning("another server uses %s: state is shared", config.state_dir)
        return
    from kiroproxy.runtime import Runtime

    wipe_metrics(Path(os.environ[METRICS_VARIABLE]))
    Runtime.wipe(config.state_dir / "runtime.db")
    for warning in prepare_credentials(config):
        server.log.warning("%s", warning)


def prepare_credentials(config: Config) -> list[str]:
    """Repair the store, import `KIRO_AUTH_TOKEN` once (X13); returns what the operator should know.

    Raises:
        ConfigError: the credentials file, or the variable, cannot be used at all.
    """
    store = FileStore(config.credentials_path)
    warnings = store.prepare()
    if is_kiro2api(config.database_path):
        warnings.append(
            f"{config.database_path} is kiro2api's database, and groups cannot be saved there: let "
            "KIRO_DB_PATH name another file, and take its tokens over with `kiroproxy credentials "
            f"import {config.database_path}`"
        )
    if config.auth_token:
        found = read_auth_token(config.auth_token)
        warnings += [*found.problems, *found.notes]
        try:
            if found.groups:
                GroupBook(config.database_path).save(found.groups)
            added = import_credentials(store, found.credentials)
        except (CredentialError, ConfigError) as error:
            warnings.append(f"KIRO_AUTH_TOKEN was not imported: {error}")
        else:
            if added:
                warnings.append(
                    f"{added} credentials of KIRO_AUTH_TOKEN are in {config.credentials_path} now: "
                    "their tokens rotate there, keep that directory between starts"
                )
        if found.client_keys:
            warnings += take_over_keys(config, found.client_keys)
    store.look_again()
    snapshot = store.snapshot()
    if not snapshot.credentials and not snapshot.problems:
        warnings.append(
            f"{config.credentials_path} holds no credential: `kiroproxy login` adds one, also while"
            " the server runs"
        )
    return warnings


def take_over_keys(config: Config, entries: Sequence[object]) -> list[str]:
    """Make client keys of kiro2api's (S121), each once; what the operator should know."""
    from kiroproxy.ledger.database import Database
    from kiroproxy.ledger.key_book import KeyBook
    from kiroproxy.ledger.key_import import summary, take_over

    try:
        return summary(take_over(KeyBook(Database(config.database_url)), entries))
    except (DatabaseError, ConfigError) as error:
        return [f"the client keys of KIRO_AUTH_TOKEN were not taken over: {error}"]


def wipe_metrics(directory: Path) -> None:
    """Forget the counters of processes that are gone (Q12)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()


@survivable
def when_ready(server: Any) -> None:
    """Say where everything lies (X15) and what looked odd."""
    gc.freeze()  # what the master imported stays, and need not be walked nor copied by workers
    gc.enable()  # its configuration file turned it off for the imports
    config = _master.config
    if config is None:
        return
    server.log.info(
        "configuration %s, credentials %s, state in %s, database %s",
        config.config_path,
        config.credentials_path,
        config.state_dir,
        config.database_path,
    )
    for warning in config.warnings:
        server.log.warning("%s", warning)
    _guard_reload(server)


def _guard_reload(server: Any) -> None:
    """Keep serving on the old configuration when the new one is broken."""
    reload: Callable[[], None] = server.reload

    def checked_reload() -> None:
        try:
            checked_config()
        except ConfigError as error:
            server.log.error("not reloaded, the running configuration stays: %s", error)
            return
        try:
            reload()
        finally:
            if _master.config is not None:
                limit_s = _master.config.graceful_timeout_sec + STOP_MARGIN_S
                server.cfg.set("graceful_timeout", limit_s)

    server.reload = checked_reload


@survivable
def on_reload(server: Any) -> None:
    """Keep the master from waiting for the workers that it replaces.

    gunicorn waits to spare them a second TERM, which ours do not mind; meanwhile it would neither
    replace a worker that dies nor hear that it is to stop.
    """
    _master.outdated = server.worker_age
    server.cfg.set("graceful_timeout", 0)


@survivable
def pre_exec(server: Any) -> None:
    """Let an upgrade in place (USR2) start as this one was started, by `python -m gunicorn`.

    gunicorn would run its own `__main__.py`, whose directory then hides Python's `http`.
    """
    args = server.START_CTX["args"]
    if Path(args[1]).name == "__main__.py":
        args[1:2] = ["-m", "gunicorn"]


@survivable
def post_fork(server: Any, worker: Any) -> None:
    """Give the worker its time limits; it imports next, which makes no garbage either (gc)."""
    gc.disable()
    if _master.config is not None:
        worker.grace_s = _master.config.graceful_timeout_sec
        worker.cfg.set("graceful_timeout", _master.config.graceful_timeout_sec + KILL_S)


@survivable
def post_worker_init(worker: Any) -> None:
    """Collect garbage from here on, but not what the program itself is made of.

    A full collection walked all of it and stopped every stream of the worker for 90 ms.
    """
    gc.enable()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    keep_freed_memory()
    _keep_house(worker)


def keep_freed_memory() -> None:
    """Tell glibc not to give the end of the heap back after each request, and to take more at once.

    Its threshold of 128 KB lies amid what an answer needs: the same pages came and went with every
    request. Elsewhere than on glibc there is nothing to be told.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES)
        mallopt(M_TOP_PAD, HEAP_STEP_BYTES)


def _keep_house(worker: Any) -> None:
    """Renew ageing tokens of credentials in use, before a request has to wait for it."""
    parts = getattr(worker.wsgi, "extensions", {}).get("kiroproxy")
    if parts is None:
        return
    parts.groups.watch()

    def work() -> None:
        counted: Mapping[str, int] = {}
        due = time.monotonic() + HOUSEKEEPING_S
        while True:
            time.sleep(min(COUNTING_S, HOUSEKEEPING_S))
            try:
                counted = count_rows(parts.ledger, counted)
                if time.monotonic() >= due:
                    due = time.monotonic() + HOUSEKEEPING_S
                    parts.pool.housekeep()
                    parts.ledger.housekeep()
            except Exception:
                worker.log.exception("housekeeping failed")

    threading.Thread(target=work, name="housekeeping", daemon=True).start()
    start = threading.Timer(LEDGER_START_S, parts.ledger.start)
    start.daemon = True
    start.start()


def count_rows(ledger: "Ledger", before: Mapping[str, int]) -> Mapping[str, int]:
    """Bring the metrics of the ledger's rows up to date; returns what was counted."""
    # not before the metrics' directory is set (Q12)
    from kiroproxy.observability import LEDGER_ROWS, LEDGER_TROUBLES

    counts = ledger.usage.counts
    now = {state: getattr(counts, state) for state in ("recorded", "written", "spooled", "dropped")}
    for state, count in now.items():
        LEDGER_ROWS.labels(state).inc(count - before.get(state, 0))
    LEDGER_TROUBLES.set(len(ledger.problems()))
    return now


@survivable
def worker_exit(server: Any, worker: Any) -> None:
    """Write the ledger's last rows, and let a refresh land: only its answer has the new token."""
    app = getattr(worker, "wsgi", None)
    parts = getattr(app, "extensions", {}).get("kiroproxy")
    if parts is None:
        return
    parts.ledger.close()
    if not parts.pool.drain(DRAIN_S):
        server.log.error("a refresh was still in flight after %s s", DRAIN_S)


@survivable
def child_exit(server: Any, worker: Any) -> None:
    """Take a dead worker's gauges out of the sums, and see that enough are left."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    _replace(server)


def _replace(server: Any) -> None:
    """Start a worker where gunicorn would not: it counts those that only finish their answers."""
    serving = sum(one.age > _master.outdated for one in server.WORKERS.values())
    if server.LISTENERS and serving < server.num_workers <= len(server.WORKERS):
        server.spawn_worker()
