"""`kiroproxy serve`; how it fails is in tests/test_serving.py."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main
from kiroproxy.serving import PACKAGED_CONFIGURATION


class Replaced(Exception):
    """Stands in for the process image that is gone."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        seen.extend((path, arguments, environment))
        raise Replaced

    monkeypatch.setattr(os, "execve", execve)
    return seen


def test_becomes_gunicorn(tmp_path: Path, calls: list[Any]) -> None:
    """The same process id, for supervisors; the options travel in the environment."""
    config = tmp_path / "c.json"
    config.write_text('{"apiKey": "k"}', "utf-8")
    arguments = ["serve", "-c", str(config), "--credentials", "x.json", "--port", "9000"]
    result = CliRunner().invoke(main, [*arguments, "--workers", "3", "--host", "::1"])
    assert isinstance(result.exception, Replaced)
    path, command, environment = calls
    assert path == sys.executable
    assert command[1:] == ["-m", "gunicorn", "-c", f"file:{PACKAGED_CONFIGURATION}"]
    expected = {
        "KIROPROXY_CONFIG": str(config),
        "KIROPROXY_CREDENTIALS": "x.json",
        "KIROPROXY_PORT": "9000",
        "KIROPROXY_WORKERS": "3",
        "KIROPROXY_HOST": "::1",
    }
    assert expected.items() <= environment.items()


def test_windows_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
    """S161."""
    monkeypatch.setattr(sys, "platform", "win32")
    result = CliRunner().invoke(main, ["serve"])
    assert (result.exit_code, calls) == (1, [])
    assert "WSL" in result.stderr


def test_json_logs(tmp_path: Path, calls: list[Any]) -> None:
    config = tmp_path / "c.json"
    config.write_text('{"apiKey": "k"}')
    CliRunner().invoke(main, ["serve", "-c", str(config), "--json"])
    assert calls[2]["KIROPROXY_LOG_FORMAT"] == "json"
