"""The IDE's file, which the IDE refreshes as well as we (design 5, rule 8)."""

import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials.links import FileLinks
from kiroproxy.credentials.model import Credential, build_time
from kiroproxy.credentials.refresh import RefreshFailure
from tests.credentials.bench import HOUR, Bench

THEIRS = "their-refresh-token-" + "x" * 100


class Ide:
    """What the IDE has written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **entry: Any) -> None:
        self.path.write_text(json.dumps({"unknown": [1], "authMethod": "social"} | entry))

    def read(self) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads(self.path.read_text())
        return entry


@pytest.fixture
def ide(tmp_path: Path) -> Ide:
    return Ide(tmp_path / "kiro-auth-token.json")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, links=FileLinks())
    yield bench
    bench.settle()
    bench.runtime.close()


def test_the_ides_newer_token_is_taken_and_no_call_is_made(bench: Bench, ide: Ide) -> None:
    bench.add(None, linked_to=str(ide.path))
    living = build_time(bench.now + HOUR)
    ide.write(refreshToken=THEIRS, accessToken="theirs", expiresAt=living)
    assert bench.bearer() == "theirs"
    assert bench.auth.redeemed == []
    assert bench.stored().refresh_token == THEIRS


def test_the_ides_newer_token_is_redeemed_if_it_has_aged(bench: Bench, ide: Ide) -> None:
    bench.add(None, linked_to=str(ide.path))
    ide.write(refreshToken=THEIRS, accessToken="theirs", expiresAt=build_time(bench.now - HOUR))
    assert bench.bearer() == "at-1"
    assert bench.auth.redeemed == [THEIRS]
    entry = ide.read()
    assert (entry["refreshToken"], entry["accessToken"], entry["unknown"]) == ("rt-1", "at-1", [1])
    assert entry["expiresAt"] == build_time(bench.now + HOUR)
    assert stat.S_IMODE(ide.path.stat().st_mode) == 0o600


def test_a_token_that_the_ide_got_meanwhile_is_not_overwritten(bench: Bench, ide: Ide) -> None:
    one = bench.add(HOUR, linked_to=str(ide.path), refresh_token="ours" + "x" * 100)
    ide.write(refreshToken=THEIRS)
    FileLinks().write_back(one, one)
    assert ide.read()["refreshToken"] == THEIRS


def test_a_file_that_is_gone_or_odd_hinders_nobody(bench: Bench, ide: Ide) -> None:
    bench.add(None, linked_to=str(ide.path))
    assert bench.bearer() == "at-1"
    ide.path.write_text("[]")
    bench.now += 2 * HOUR
    assert bench.bearer() == "at-2"
    ide.write(refreshToken="short", accessToken="x")
    bench.now += timedelta(hours=2)
    assert bench.bearer() == "at-3"


def test_an_access_token_that_lives_longer_is_taken(bench: Bench, ide: Ide) -> None:
    """Social tokens need not rotate."""
    mine = "mine" + "x" * 100
    bench.add(timedelta(minutes=-1), linked_to=str(ide.path), refresh_token=mine)
    ide.write(refreshToken=mine, accessToken="later", expiresAt=build_time(bench.now + HOUR))
    assert bench.bearer() == "later"
    assert bench.auth.redeemed == []


def test_the_ide_was_faster(bench: Bench, ide: Ide) -> None:
    """Both redeem one token at the same moment; ours is refused, and theirs serves."""
    ours = "ours" + "x" * 100
    bench.add(None, linked_to=str(ide.path), refresh_token=ours)
    ide.write(refreshToken=ours, accessToken="old", expiresAt=build_time(bench.now - HOUR))

    def refuse(credential: Credential) -> RefreshFailure:
        living = build_time(bench.now + HOUR)
        ide.write(refreshToken=THEIRS, accessToken="theirs", expiresAt=living)
        return RefreshFailure("spent", disable="InvalidRefreshToken")

    bench.auth.script = [refuse]
    assert bench.bearer() == "theirs"
    assert bench.auth.redeemed == [ours]
    assert not bench.stored().disabled
