"""A line of the report."""

from kiroproxy.doctor.finding import STATES, failure, ok, warning, worst


def test_facts_are_filled_in_and_not_read_as_templates() -> None:
    one = failure("files", "{path} is bad", "mend {path}", path="{odd}")
    assert one.as_json() == {
        "check": "files",
        "state": "failure",
        "message": "{odd} is bad",
        "remedy": "mend {odd}",
    }


def test_the_worst_is_the_exit_code() -> None:
    good, odd, bad = ok("a", "x"), warning("b", "x", "y"), failure("c", "x", "y")
    assert [STATES.index(worst(found)) for found in ([], [good], [good, odd], [bad, odd])] == [
        0,
        0,
        1,
        2,
    ]
