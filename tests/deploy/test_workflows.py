"""S167: the workflows parse, call what exists, and may do no more than they need."""

import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import parse
from tests.servers import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
FILE = re.compile(r"(?:\.ci|\.github|deploy|tests|docs)/[\w./-]+|docker-compose[\w.]*\.yml")


def load(path: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return document


def steps(document: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in document["jobs"].values():
        yield from job["steps"]


def test_s167_what_runs_when() -> None:
    """YAML reads the key `on` as true."""
    triggers = {path.stem: load(path)[True] for path in WORKFLOWS}
    assert set(triggers["tests"]) == {"push", "pull_request"}
    assert triggers["tests"]["push"]["branches"] == ["main"]
    assert triggers["release"] == {"push": {"tags": ["v*"]}}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path: Path) -> None:
    commands = [step["run"] for step in steps(load(path)) if "run" in step]
    named = {name for command in commands for name in FILE.findall(command)}
    scripts = {name for name in named if name.startswith(".ci/")}
    assert scripts == {".ci/run"}, "the one script that they call"
    for name in named:
        assert (REPOSITORY / name).is_file(), name
    for command in commands:
        first = command.split()[0]
        if first.startswith("."):
            assert os.access(REPOSITORY / first, os.X_OK), first


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_trusted_without_need(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {"contents": "read"}
    for name, job in document["jobs"].items():
        assert job["timeout-minutes"] <= 30, name
    for step in steps(document):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), "only GitHub's own actions"
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
        # an expression inside a script is code that whoever names a branch writes
        assert "${{" not in step.get("run", "")


def test_all_supported_versions_are_tested() -> None:
    tested = load(REPOSITORY / ".github/workflows/tests.yml")["jobs"]["check"]["strategy"]["matrix"]
    shipped = parse((REPOSITORY / "Dockerfile").read_text("utf-8"))[-1].image
    version = re.search(r":(\d+\.\d+)", shipped)
    assert version is not None
    assert version[1] in tested["python"]
    assert 'requires-python = ">=3.11"' in (REPOSITORY / "pyproject.toml").read_text("utf-8")
    assert "3.11" in tested["python"]


@pytest.mark.parametrize("name", ["run", "release"])
def test_the_scripts_are_bash(name: str) -> None:
    script = REPOSITORY / ".ci" / name
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text("utf-8").splitlines()[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in script.read_text("utf-8")


def test_a_release_is_whole() -> None:
    """S167: wheel, image, SBOM, checksums, and an audit that does not pass offline."""
    script = (REPOSITORY / ".ci/release").read_text("utf-8")
    for part in ("-m build", "cyclonedx-py", "sha256sum", "pip-audit", "--strict"):
        assert part in script, part
    release = load(REPOSITORY / ".github/workflows/release.yml")["jobs"]
    assert {name for name, job in release.items() if job.get("needs") == "tests"} == {
        "packages",
        "image",
    }
    commands = "\n".join(step.get("run", "") for job in release.values() for step in job["steps"])
    for part in (".ci/run release", "gh release create", "docker build", "docker push"):
        assert part in commands, part
    tests = load(REPOSITORY / ".github/workflows/tests.yml")
    assert any(step.get("run") == ".ci/run release" for step in steps(tests)), "audited each time"


def test_what_ci_may_be_asked_for() -> None:
    done = subprocess.run(
        [REPOSITORY / ".ci/run", "deploy"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: .ci/run")


def test_ruffs_security_rules_are_on() -> None:
    """For the product; tests start programs and write passwords on purpose."""
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    off = {path for path, rules in lint["per-file-ignores"].items() if "S" in rules}
    assert off == {"tests/*"}
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    assert "ruff check ." in makefile.split("check:")[1].split("format:")[0]
    assert "exec make check" in (REPOSITORY / ".ci/run").read_text("utf-8")


def test_the_release_tools_are_pinned() -> None:
    lines = (REPOSITORY / ".ci/release-tools.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"build", "cyclonedx-bom", "pip_audit"} <= names
