"""Fixtures of the command line's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.home import Home, entry
from tests.simulation import Simulator


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two credentials, and nobody upstream."""
    return Home(tmp_path, entry("one"), entry("two", priority=3), upstream="http://127.0.0.1:9")


@pytest.fixture(scope="session")
def running_kiro() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def kiro(running_kiro: Simulator) -> Simulator:
    """A simulator that starts clean."""
    running_kiro.reset()
    return running_kiro
