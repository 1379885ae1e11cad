"""The vocabulary holds values, and shares none of them by accident."""

import msgspec

from kiroproxy import conversation as c


def test_lists_are_not_shared() -> None:
    first, second = c.Conversation("m", []), c.Conversation("m", [])
    first.tools.append(c.Tool("t", "", None))
    first.stop_sequences.append("x")
    first.system.append("x")
    assert (second.tools, second.stop_sequences, second.system) == ([], [], [])
    assert first.tool_choice is not second.tool_choice


def test_events_on_the_hot_path_are_not_tracked() -> None:
    """style.md: `msgspec.Struct(gc=False)`, made and read in 42 ns."""
    for kind in (c.TextDelta, c.ThinkingDelta, c.ToolInputDelta, c.Stop, c.Usage):
        assert issubclass(kind, msgspec.Struct)
        assert not kind.__struct_config__.gc


def test_events_of_different_kinds_are_never_equal() -> None:
    assert c.TextDelta("a") == c.TextDelta("a")
    assert c.TextDelta("a") != c.ThinkingDelta("a")
