"""W3C Trace Context: what counts as valid, what goes on, what is ignored."""

import re

import pytest

from kiroproxy import tracing

FRESH = "0123456789abcdef0123456789abcdee"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_one_goes_on() -> None:
    context = tracing.begin(GOOD, "vendor=a, other=b", FRESH)
    assert (context.trace_id, context.parent_id, context.flags) == (TRACE, SPAN, 1)
    assert context.span_id == FRESH[16:]
    assert context.traceparent == f"00-{TRACE}-{FRESH[16:]}-01"
    assert context.state == "vendor=a,other=b"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01more",
        f"0-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"{GOOD},{GOOD}",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_an_invalid_one_is_ignored_and_its_state_too(header: str | None) -> None:
    context = tracing.begin(header, "vendor=a", FRESH)
    assert (context.trace_id, context.span_id) == (FRESH, FRESH[16:])
    assert (context.parent_id, context.flags, context.state) == ("", 0, "")


@pytest.mark.parametrize("rest", ["01", "01-", "01-what a later version adds"])
def test_later_versions_are_read_as_this_one(rest: str) -> None:
    context = tracing.begin(f"cc-{TRACE}-{SPAN}-{rest}", None, FRESH)
    assert (context.trace_id, context.parent_id, context.flags) == (TRACE, SPAN, 1)
    assert context.traceparent.startswith("00-"), "we speak our own version"


@pytest.mark.parametrize(("sent", "kept"), [("00", 0), ("01", 1), ("02", 2), ("ff", 3), ("fe", 2)])
def test_unknown_flags_are_not_passed_on(sent: str, kept: int) -> None:
    assert tracing.begin(f"00-{TRACE}-{SPAN}-{sent}", None, FRESH).flags == kept


@pytest.mark.parametrize(
    ("header", "state"),
    [
        ("a=1", "a=1"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("tenant@vendor=x y", "tenant@vendor=x y"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=ü", ""),
        (",".join(f"k{n}=v" for n in range(33)), ""),
        ("a=" + "x" * 200 + ",b=" + "x" * 200 + ",c=" + "x" * 200, ""),
        ("a=1\r\nx: y", ""),
    ],
)
def test_tracestate_is_passed_on_whole_or_not_at_all(header: str, state: str) -> None:
    assert tracing.begin(GOOD, header, FRESH).state == state


def test_each_call_is_a_span_of_its_own() -> None:
    context = tracing.begin(GOOD, "a=1", FRESH)
    first, second = context.pass_on(), context.pass_on()
    assert first["tracestate"] == "a=1"
    assert first["traceparent"] != second["traceparent"]
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", first["traceparent"])
    assert [one.span_id for one in context.hops] == [
        one["traceparent"][36:52] for one in (first, second)
    ]
    assert "tracestate" not in tracing.begin(GOOD, None, FRESH).pass_on()


def test_only_the_running_request_passes_something_on() -> None:
    assert tracing.outgoing() == {}
    token = tracing.CURRENT.set(tracing.begin(GOOD, None, FRESH))
    try:
        assert TRACE in tracing.outgoing()["traceparent"]
    finally:
        tracing.CURRENT.reset(token)
    assert tracing.outgoing() == {}
