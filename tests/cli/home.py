"""An operator's directory for tests of commands: its files, and calls in this process."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kiroproxy.cli import main
from kiroproxy.observability import configure_logging
from tests.servers import clean_environment

TOKEN = "refresh-token-of-a-test-" + "x" * 100
KEY = "sk-kiroproxy-client-key"


def token(name: str) -> str:
    """A refresh token that is long enough."""
    return f"{name}-" + "y" * 120


def entry(name: str = "one", **more: Any) -> dict[str, Any]:
    """A credential whose access token lives long."""
    return {
        "label": name,
        "refreshToken": token(name),
        "accessToken": f"access-token-of-{name}-" + "z" * 40,
        "expiresAt": "2099-01-01T00:00:00Z",
        "authMethod": "social",
    } | more


class Home:
    """A directory with config.json and credentials.json; `run` runs a command in it."""

    def __init__(self, place: Path, *credentials: dict[str, Any], upstream: str = "") -> None:
        self.place = place
        self.config_path = place / "config.json"
        self.credentials_path = place / "credentials.json"
        config: dict[str, Any] = {"apiKey": KEY}
        if upstream:
            config |= {"apiUrl": upstream, "socialAuthUrl": upstream, "oidcUrl": upstream}
        self.config_path.write_text(json.dumps(config), "utf-8")
        if credentials:
            self.credentials_path.write_text(json.dumps(credentials), "utf-8")
            self.credentials_path.chmod(0o600)

    def run(
        self, *arguments: object, given: str | bytes | None = None, **environment: str
    ) -> Result:
        """Run a command with this directory as the current one."""
        silenced = dict.fromkeys(set(os.environ) - set(clean_environment()))
        runner = CliRunner(env={**silenced, "HOME": str(self.place), **environment})
        with self._inside():
            return runner.invoke(main, [str(one) for one in arguments], input=given)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        before = Path.cwd()
        level = logging.getLogger("kiroproxy").level
        os.chdir(self.place)
        try:
            yield
        finally:
            os.chdir(before)
            configure_logging("info")  # not to the runner's stream, which is gone
            logging.getLogger("kiroproxy").setLevel(level)

    def json(self, *arguments: object, given: str | None = None, code: int = 0) -> Any:
        """What a command prints under `--json`."""
        result = self.run(*arguments, "--json", given=given)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def stored(self) -> list[dict[str, Any]]:
        """The credentials file."""
        stored: list[dict[str, Any]] = json.loads(self.credentials_path.read_text("utf-8"))
        return stored

    def state(self) -> dict[str, bytes]:
        """The content of all files that an operator would miss."""
        names = ("config.json", "credentials.json", "data/kiroproxy.db")
        return {
            name: (self.place / name).read_bytes() for name in names if (self.place / name).exists()
        }

    def refused(self, *arguments: object, given: str | bytes | None = None, code: int = 2) -> str:
        """A command ends with `code`, changes nothing, shows no secret; its error text."""
        before = self.state()
        result = self.run(*arguments, given=given)
        assert result.exit_code == code, (arguments, result.output, result.exception)
        assert self.state() == before, arguments
        assert result.stderr.count("Error: ") == 1, result.stderr
        assert "Traceback" not in result.output
        assert KEY not in result.output
        assert "y" * 20 not in result.output
        return result.stderr
