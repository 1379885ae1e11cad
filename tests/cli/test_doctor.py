"""`kiroproxy doctor`, what it prints; the checks are in tests/doctor and tests/flows."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main
from kiroproxy.doctor.finding import Finding, failure, ok, warning

GOOD = ok("config", "{path} is good", path="/x/{y}")
ODD = warning("files", "odd", "chmod 600 {path}", path="/z")
BAD = failure("dns", "bad", "mend it")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    def go(findings: list[Finding], *options: str) -> Any:
        def examine(patient: Any) -> list[Finding]:
            seen.append(patient)
            return findings

        monkeypatch.setattr("kiroproxy.doctor.examine", examine)
        return CliRunner().invoke(main, ["doctor", *options]), seen[-1]

    return go


def test_a_line_for_each_and_the_remedy_below(run: Any) -> None:
    result, _ = run([GOOD, ODD, BAD])
    assert result.stdout.splitlines() == [
        "ok       config       /x/{y} is good",
        "warning  files        odd",
        "                      → chmod 600 /z",
        "failure  dns          bad",
        "                      → mend it",
    ]


@pytest.mark.parametrize(("findings", "code"), [([GOOD], 0), ([GOOD, ODD], 1), ([ODD, BAD], 2)])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_exit_codes(run: Any, findings: list[Finding], code: int, options: list[str]) -> None:
    assert run(findings, *options)[0].exit_code == code


def test_consent(run: Any) -> None:
    assert run([])[1].refresh is False
    assert run([], "--refresh")[1].refresh is True


def test_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["doctor", "everything"]).exit_code == 2
