"""What lies on this machine: configuration, files, state, and how gunicorn would run."""

import contextlib
import importlib.util
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from kiroproxy.credentials.stores.durable import network_filesystem
from kiroproxy.doctor.finding import Finding, _, failure, ok, warning
from kiroproxy.doctor.patient import Patient

PROBE_S: Final = 8.0
"""For starting an interpreter that reads gunicorn's settings."""
PATCHED: Final = ("socket", "ssl", "threading", "time")
"""What a stream waits on: one of these unpatched stops the whole worker."""
PACKAGED: Final = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
GOOD_WORKERS: Final = ("gevent", "kiroproxy.worker.Worker")
PROBE: Final = """
import json, runpy, sys
settings = runpy.run_path(sys.argv[1])
from gevent import monkey
from gunicorn.config import Config
config = Config()
for name in ("worker_class", "workers"):
    if settings.get(name) is not None:
        config.set(name, settings[name])
for name, value in vars(config.parser().parse_args(config.get_cmd_args_from_env())).items():
    if name in config.settings and value is not None:
        config.set(name, value)
print(json.dumps({
    "worker_class": str(config.worker_class_str),
    "unpatched": [name for name in sys.argv[2:] if not monkey.is_module_patched(name)],
}))
"""
"""Reads a configuration file as gunicorn does, with GUNICORN_CMD_ARGS on top."""


def check_config(patient: Patient) -> Iterator[Finding]:
    """Whether the settings are good, and nobody else can read them."""
    name, config = "config", patient.config
    path = config.config_path
    if not config.api_key:
        message = _("there is no client key, and the server does not start without")
        yield failure(name, message, _("run `kiroproxy init`, or set apiKey in {path}"), path=path)
    for text in config.warnings:
        yield warning(name, "{text}", _("correct or remove that key"), text=text)
    if path.exists() and (open_to := _open_to_others(path)):
        yield _too_open(name, path, open_to)
    elif config.api_key and not config.warnings:
        where = _("{path} is good") if path.exists() else _("good, without a file {path}")
        yield ok(name, where, path=path)


def check_files(patient: Patient) -> Iterator[Finding]:
    """Whether credentials can be read, replaced, and read by nobody else."""
    name, path = "files", patient.config.credentials_path
    findings = [*_credentials_file(name, path, patient)]
    findings += [
        warning(
            name,
            _("the refresh of credential #{id} broke off before its result was stored"),
            _("its token is tried once more when needed; if that fails, log in again"),
            id=intent.name.rsplit("-", 1)[1].removesuffix(".intent"),
        )
        for intent in sorted(path.parent.glob(f".{path.name}.refresh-*.intent"))
    ]
    if not findings:
        count = len(patient.pool.store.snapshot().credentials)
        findings = [ok(name, _("{path} holds {count} credentials"), path=path, count=count)]
    yield from findings


def _credentials_file(name: str, path: Path, patient: Patient) -> Iterator[Finding]:
    if kind := network_filesystem(path):
        yield _on_network(name, path, kind, allowed=patient.config.allow_network_filesystem)
    if not path.exists():
        remedy = _("run `kiroproxy login` or `kiroproxy credentials import`")
        yield failure(name, _("{path} does not exist"), remedy, path=path)
    elif open_to := _open_to_others(path):
        yield _too_open(name, path, open_to)
    snapshot = patient.pool.store.snapshot()
    for text in snapshot.problems:
        yield failure(name, "{text}", _("correct {path}"), text=text, path=path)
    if path.exists() and not snapshot.credentials and not snapshot.problems:
        remedy = _("run `kiroproxy login` or `kiroproxy credentials import`")
        yield failure(name, _("{path} holds no credential"), remedy, path=path)
    if why := patient.pool.store.why_unwritable():
        message = _("refreshed tokens could not be stored: {why}")
        yield failure(name, message, _("make that directory writable"), why=why)


def _open_to_others(path: Path) -> str:
    """The mode of a file that others can read or write; empty if none can, or it has no mode."""
    if not hasattr(os, "geteuid"):
        return ""
    mode = path.stat().st_mode
    return f"{stat.S_IMODE(mode):04o}" if mode & (stat.S_IRWXG | stat.S_IRWXO) else ""


def _too_open(name: str, path: Path, mode: str) -> Finding:
    message = _("{path} has mode {mode}: others on this machine can read its secrets")
    return warning(name, message, "chmod 600 {path}", path=path, mode=mode)


def _on_network(name: str, path: Path, kind: str, *, allowed: bool) -> Finding:
    make = warning if allowed else failure
    message = _("{path} lies on a network file system ({kind}), where locks may not hold")
    remedy = _("use a local directory")
    return make(name, message, remedy, path=path, kind=kind)


def check_state(patient: Patient) -> Iterator[Finding]:
    """Whether runtime state can be kept."""
    name, place = "state", patient.config.state_dir
    if kind := network_filesystem(place):
        yield _on_network(name, place, kind, allowed=patient.config.allow_network_filesystem)
    there = next(one for one in (place, *place.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        message = _("{place} cannot be written: {why}")
        remedy = _("make it writable for the server's user, or set stateDir")
        why = error.strerror or type(error).__name__
        yield failure(name, message, remedy, place=there, why=why)
    else:
        yield ok(name, _("{place} can be written"), place=place)


def check_runtime(patient: Patient) -> Iterator[Finding]:
    """Whether runtime.db is sound."""
    name, path = "runtime.db", patient.config.state_dir / "runtime.db"
    if not path.exists():
        yield ok(name, _("the server makes it when it starts"))
        return
    remedy = _("stop the server, delete {path} and start again: nothing of value is in it")
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1)) as db:
            said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        said = str(error)
    if said == "ok":
        yield ok(name, _("{path} is sound"), path=path)
    elif "locked" in said:
        yield warning(name, _("{path} is busy"), _("look again"), path=path)
    else:
        yield failure(name, _("{path} is damaged: {why}"), remedy, path=path, why=said)


# ---- gunicorn ------------------------------------------------------------------------------


def check_gunicorn(patient: Patient) -> Iterator[Finding]:
    """Whether the server would run gevent workers that are patched (design, Q10)."""
    name = "gunicorn"
    if sys.platform == "win32":
        message = _("the server does not run on Windows")
        yield warning(name, message, _("run it in WSL or in a container"))
        return
    for module in ("gunicorn", "gevent", "packaging"):
        if importlib.util.find_spec(module) is None:
            message = _("{module} is not installed")
            yield failure(name, message, "pip install {module}", module=module)
            return
    own = Path("gunicorn.conf.py")
    yield _gunicorn_finding(name, own.absolute() if own.is_file() else PACKAGED, patient)


def _gunicorn_finding(name: str, path: Path, patient: Patient) -> Finding:
    said = _probe(path, patient)
    if isinstance(said, str):
        message = _("the server would not start: {why}")
        return failure(name, message, _("correct that, then look again"), why=said)
    if said["worker_class"] not in GOOD_WORKERS:
        message = _("the worker class is {kind}: one stream would block all others")
        remedy = _('use worker_class = "gevent" in {path}, and no -k in GUNICORN_CMD_ARGS')
        return failure(name, message, remedy, kind=said["worker_class"], path=path)
    if said["unpatched"]:
        message = _("{modules} are not patched by gevent: one stream would block all others")
        remedy = _("begin {path} with `from gevent import monkey; monkey.patch_all()`")
        return failure(name, message, remedy, modules=", ".join(said["unpatched"]), path=path)
    return ok(name, _("gevent workers, patched, by {path}"), path=path)


def _probe(path: Path, patient: Patient) -> dict[str, Any] | str:
    """What gunicorn would take from a configuration file, or why it would not start."""
    from kiroproxy.config import child_environment

    paths = {key: getattr(patient.config, key) for key in ("config_path", "credentials_path")}
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", PROBE, str(path), *PATCHED],
            env=child_environment(paths),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _("reading its configuration takes too long")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        return lines[-1].removeprefix("kiroproxy: ")
    try:
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return _("its configuration prints something else than expected")
    return said
