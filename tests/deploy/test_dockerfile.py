"""S162 to S164: the Dockerfile and the compose files, by rules, without a container engine."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from kiroproxy.config import Config
from kiroproxy.serving import STOP_MARGIN_S
from tests.deploy.dockerfile import broken_rules, health_command, parse
from tests.servers import REPOSITORY

TEXT = (REPOSITORY / "Dockerfile").read_text("utf-8")


class Loader(yaml.SafeLoader):
    """Knows the tags of compose files."""


Loader.add_constructor("!reset", lambda loader, node: loader.construct_sequence(node))


def compose(*names: str) -> list[dict[str, Any]]:
    return [yaml.load((REPOSITORY / name).read_text("utf-8"), Loader) for name in names]


def seconds(duration: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600}
    return int(duration[:-1]) * units[duration[-1]]


def test_the_dockerfile_breaks_no_rule() -> None:
    assert not list(broken_rules(TEXT))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("USER 10001:10001\n", "", "USER is missing"),
        ("USER 10001:10001", "USER kiroproxy", "USER is not"),
        ("USER 10001:10001", "USER 10001:10001\nRUN true", "after USER"),
        ("3.11-slim-bookworm AS", "slim AS", "not pinned"),
        ("python:3.11-slim-bookworm\n", "python:3.11\n", "not slim"),
        ('["tini", "--", "kiroproxy"]', "tini -- kiroproxy", "hears no signal"),
        ('["tini", "--", "kiroproxy"]', '["kiroproxy"]', "no init"),
        ("HEALTHCHECK", "# HEALTHCHECK", "HEALTHCHECK is missing"),
        (" --no-install-recommends", "", "--no-install-recommends"),
        ("    && rm -rf /var/lib/apt/lists/*", "    && true", "lists"),
        (" --no-cache-dir", "", "--no-cache-dir"),
        (" --constraint constraints.txt", "", "--constraint"),
        ("COPY kiroproxy ./kiroproxy", "COPY . .", "everything"),
        ("COPY kiroproxy", "ADD kiroproxy", "ADD"),
        ("KIROPROXY_HOST=0.0.0.0", "KIROPROXY_HOST=0.0.0.0 PORT=1 KIROPROXY_PORT=1", "S163"),
        ("KIROPROXY_HOST=0.0.0.0", "KIRO_CLIENT_TOKEN=123456", "secret"),
        ("WORKDIR /app", "WORKDIR app", "relative"),
    ],
)
def test_the_rules_are_rules(old: str, new: str, rule: str) -> None:
    assert old in TEXT
    assert any(rule in told for told in broken_rules(TEXT.replace(old, new))), rule


def test_only_what_the_image_needs_gets_into_it() -> None:
    """Everything is kept out but what the build stage copies: no secret, no state."""
    ignore = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {line[1:] for line in rules if line.startswith("!")}
    build = parse(TEXT)[0]
    copied = {name for one in build.all("COPY") for name in one.words[:-1]}
    assert let_in == copied
    assert all((REPOSITORY / name).exists() for name in copied)


def test_s164_the_compose_file() -> None:
    [document] = compose("docker-compose.yml")
    service = document["services"]["kiroproxy"]
    assert service["build"] == "."
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(str(one).startswith("/tmp") for one in service["tmpfs"])
    mounts = dict(one.split(":")[:2] for one in service["volumes"])
    assert mounts["./config/"] == "/app/config/"
    assert not any(target.endswith(".json") for target in mounts.values()), "never a single file"
    assert any(one.endswith(":8990") for one in service["ports"])
    assert service["environment"]["KIROPROXY_PORT"] == "8990"
    final = parse(TEXT)[-1]
    assert service["user"] == final.last("USER").text
    assert service["healthcheck"]["test"] == ["CMD", *health_command(final)]
    longest = Config().graceful_timeout_sec + STOP_MARGIN_S
    assert seconds(service["stop_grace_period"]) > longest
    written = {one.rstrip("/") for one in mounts.values()}
    volumes = {one.rstrip("/") for one in parse(TEXT)[-1].last("VOLUME").words}
    assert written == volumes, "the rest is read-only"


def test_compose_with_nginx() -> None:
    base, more = compose("docker-compose.yml", "deploy/docker-compose.nginx.yml")
    nginx = more["services"]["nginx"]
    assert more["services"]["kiroproxy"]["ports"] == [], "only nginx has a port"
    assert more["services"]["kiroproxy"]["environment"]["KIROPROXY_TRUSTED_PROXIES"]
    for mount in nginx["volumes"]:
        source, target, mode = mount.split(":")
        assert (REPOSITORY / source).is_file()
        assert (target.startswith("/etc/nginx/"), mode) == (True, "ro")
    upstream = (REPOSITORY / "deploy/nginx/upstream-compose.conf").read_text("utf-8")
    port = base["services"]["kiroproxy"]["environment"]["KIROPROXY_PORT"]
    assert f"server kiroproxy:{port};" in upstream
    assert seconds(nginx["stop_grace_period"]) > Config().graceful_timeout_sec
    assert nginx["stop_signal"] == "SIGQUIT"


@pytest.mark.parametrize("more", [[], ["-f", "deploy/docker-compose.nginx.yml"]])
def test_docker_compose_reads_it(more: list[str]) -> None:
    try:
        known = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=20)
    except OSError:
        pytest.skip("docker is not installed")
    if known.returncode != 0:
        pytest.skip("docker has no compose plugin")
    command = ["docker", "compose", "-f", "docker-compose.yml", *more, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "kiroproxy" in json.loads(done.stdout)["services"]


def test_the_health_check_is_a_command_of_ours() -> None:
    from kiroproxy import cli

    program, name = health_command(parse(TEXT)[-1])
    assert program == "kiroproxy"
    assert name in {one.name for one in cli.COMMANDS}
