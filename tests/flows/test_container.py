"""S162, S163, S166: the image's own commands, run in a clean directory by an unprivileged user."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dockerfile import health_command, parse
from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN
from tests.servers import REPOSITORY, Proxy, clean_environment, require_tool
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

BUILD, FINAL = parse((REPOSITORY / "Dockerfile").read_text("utf-8"))
UID = 10001


@dataclass
class Image:
    """What `docker build` would leave, below a directory of this machine."""

    root: Path
    user: dict[str, int]

    def path(self, inside: str) -> Path:
        return self.root / inside.removeprefix("/")

    def mapped(self, text: str) -> str:
        """A command or value of the Dockerfile, its places below our directory."""
        for place in ("/opt/kiroproxy", "/app"):
            text = text.replace(place, str(self.path(place)))
        return text.replace("$PATH", os.environ["PATH"])

    def environment(self) -> dict[str, str]:
        base = clean_environment()
        del base["PYTHONPATH"]
        more = {name: self.mapped(value) for name, value in FINAL.environment().items()}
        return base | more | {"HOME": str(self.path("/app"))}

    def run(self, *command: str, cwd: str = "/app", **environ: str) -> Any:
        return subprocess.run(
            command,
            cwd=self.path(cwd),
            env=self.environment() | environ,
            capture_output=True,
            text=True,
            timeout=110,
            **self.user,
        )


def usable_python(user: dict[str, int]) -> str:
    """A Python of a version that we support, which that user may run."""
    code = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-c", code], cwd="/", env={}, capture_output=True, timeout=20, **user
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    reason = "no Python that an unprivileged user may run: apt-get install python3-venv"
    assert "KIROPROXY_CI_TOOLS" not in os.environ, reason
    pytest.skip(reason)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The build stage's RUN lines, after its COPY lines."""
    user = {"user": UID, "group": UID} if os.geteuid() == 0 else {}
    python = usable_python(user)
    with tempfile.TemporaryDirectory() as place:  # pytest's own are root's alone
        made = Image(Path(place), user)
        for inside in ("/src", "/opt", "/app/config", "/app/data", "/bin"):
            made.path(inside).mkdir(parents=True)
        for one in BUILD.all("COPY"):
            *names, target = one.words
            for name in names:
                goal = made.path("/src") / target / ("" if target.endswith("/") else ".")
                copy(REPOSITORY / name, goal / name if (REPOSITORY / name).is_file() else goal)
        made.path("/bin/python3").symlink_to(python)
        if user:
            for path in [made.root, *made.root.rglob("*")]:
                os.chown(path, UID, UID, follow_symlinks=False)
        path = f"{made.path('/bin')}{os.pathsep}{os.environ['PATH']}"
        for one in BUILD.all("RUN"):
            words = shlex.split(made.mapped(one.text))
            done = made.run(*words, cwd=BUILD.last("WORKDIR").text, PATH=path)
            assert done.returncode == 0, done.stderr
        shutil.rmtree(made.path("/src"))  # the final stage does not have it
        if user:  # read_only: nothing but the volumes can be written
            os.chown(made.path("/app"), 0, 0)
        yield made


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def started(image: Image, sim: Simulator, place: Path, **environ: str) -> Proxy:
    """`docker run` with these variables; the port is a free one."""
    words = [*FINAL.last("ENTRYPOINT").words, *FINAL.last("CMD").words]
    words[0] = require_tool(words[0])
    proxy = Proxy(place, command=words)
    proxy.popen = {"cwd": image.path(FINAL.last("WORKDIR").text), **image.user}
    urls = ("API", "SOCIAL_AUTH", "OIDC")
    proxy.environment = image.environment() | {
        "KIROPROXY_PORT": str(proxy.port),
        **{f"KIROPROXY_{name}_URL": sim.url for name in urls},
        **environ,
    }
    return proxy


def test_s163_it_starts_from_its_environment_alone(
    image: Image, sim: Simulator, tmp_path: Path
) -> None:
    environ = {
        "KIRO_AUTH_TOKEN": json.dumps([{"auth": "Social", "refreshToken": LONG_TOKEN}]),
        "KIRO_CLIENT_TOKEN": "123456",
    }
    with started(image, sim, tmp_path, **environ) as proxy:
        proxy.key = "123456"
        assert post(proxy, body()).status_code == 200
        log = proxy.log()
        assert f"Listening at: http://0.0.0.0:{proxy.port}" in log
        assert "keep that directory between starts" in log, "rotated tokens go with the container"
        check = image.run(*health_command(FINAL), KIROPROXY_PORT=str(proxy.port))
        assert check.returncode == 0, check.stderr
        proxy.process.terminate()
        assert proxy.process.wait(10) == 0
    assert image.run(*health_command(FINAL), KIROPROXY_PORT=str(proxy.port)).returncode == 1
    [stored] = json.loads(image.path("/app/config/credentials.json").read_text())
    assert stored["generation"] == 1


def test_without_a_key_it_says_what_to_do(image: Image) -> None:
    done = image.run("kiroproxy", *FINAL.last("CMD").words)
    assert done.returncode == 1
    assert "KIRO_CLIENT_TOKEN" in done.stderr


def test_s166_everything_is_in_the_package(image: Image) -> None:
    """Nothing of the checkout is needed."""
    package = image.run("python", "-c", "import kiroproxy; print(kiroproxy.__file__)")
    inside = Path(package.stdout.strip()).parent
    assert inside.is_relative_to(image.root)
    assert image.run("kiroproxy", "--help", LANGUAGE="zh").returncode == 0
    for kind in ("*.mo", "py.typed", "gunicorn.conf.py"):
        names = {one.relative_to(inside) for one in inside.rglob(kind)}
        own = REPOSITORY / "kiroproxy"
        assert names == {one.relative_to(own) for one in own.rglob(kind)}
