"""Slow work goes to a thread; its refusals come back without a traceback on the terminal."""

import threading

import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.web.offload import off_loop


@pytest.mark.parametrize("slow", [True, False])
def test_where_the_work_is_done(slow: bool) -> None:
    here = threading.get_ident()
    assert (off_loop(slow, threading.get_ident) != here) is slow


@pytest.mark.parametrize("slow", [True, False])
def test_refusals_come_back_quietly(slow: bool, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise InvalidRequest("messages.0: no")

    with pytest.raises(InvalidRequest, match="no"):
        off_loop(slow, refuse)
    assert capfd.readouterr().err == ""
