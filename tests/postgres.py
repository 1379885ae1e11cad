"""A PostgreSQL of the tests' own: one cluster for a session, in a temporary directory."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_LIMIT_S = 30
PLACES = "/usr/lib/postgresql/*/bin"
"""Debian keeps the server's programs out of PATH."""
HASTE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB")
FRESH = ("-U", "kiroproxy", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync")
ACCOUNTS = ("postgres", "nobody")
"""Whose processes they may be where the tests are root's: PostgreSQL refuses root."""


def require_postgres() -> Path:
    """The directory of its programs; as `tests.servers.require_tool`."""
    found = [path.parent for path in sorted(Path("/").glob(f"{PLACES[1:]}/initdb"), reverse=True)]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    if not found:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        assert "KIROPROXY_CI_TOOLS" not in os.environ, reason
        pytest.skip(reason)
    return found[0]


def unprivileged() -> pwd.struct_passwd | None:
    """Whom it runs as, if not as ourselves."""
    if os.getuid() != 0:
        return None
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("there is no unprivileged account to run PostgreSQL as")


@contextmanager
def cluster() -> Iterator[str]:
    """A running cluster that listens on a socket alone; gives its URL, in SQLAlchemy's form."""
    programs, account = require_postgres(), unprivileged()
    who = {"user": account.pw_uid, "group": account.pw_gid} if account is not None else {}
    # not below pytest's directory, which other accounts may not enter; and sockets' paths are short
    place = Path(tempfile.mkdtemp(prefix="kiroproxy-pg-"))
    try:
        if account is not None:
            os.chown(place, account.pw_uid, account.pw_gid)
        data = str(place / "data")
        made = subprocess.run(
            [programs / "initdb", "-D", data, *FRESH],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **who,
        )
        assert made.returncode == 0, made.stderr
        settings = [part for one in HASTE for part in ("-c", one)]
        with (place / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", str(place), "-h", "", *settings],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **who,
            )
        try:
            _wait(server, programs, place)
            yield f"postgresql+psycopg://kiroproxy@/postgres?host={place}"
        finally:
            server.send_signal(signal.SIGINT)  # at once, orderly
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _wait(server: "subprocess.Popen[bytes]", programs: Path, place: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    question = [programs / "pg_isready", "-q", "-h", str(place), "-U", "kiroproxy"]
    while subprocess.run(question, timeout=10, check=False).returncode != 0:
        log = (place / "log").read_text("utf-8", "replace")
        assert server.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)


def empty(url: str) -> None:
    """Drop whatever tables are there."""
    from sqlalchemy import MetaData, create_engine

    engine = create_engine(url)
    there = MetaData()
    there.reflect(engine)
    there.drop_all(engine)
    engine.dispose()
