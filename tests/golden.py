"""Whole answers on paper: a script of Kiro's events beside the SSE that a client gets for it.

python -m tests.golden      # writes tests/data/golden/*.sse anew; read the diff before committing
"""

import json
from pathlib import Path

from kiroproxy.dialects.anthropic.stream import AnthropicStream
from kiroproxy.errors import KiroProxyError
from kiroproxy.eventstream import Decoder
from kiroproxy.kiro.events import parse_events
from kiroproxy.kiro.reply import Expectations, Reply
from kiroproxy.simulator.script import compile_script

GOLDEN = Path(__file__).parent / "data" / "golden"


def cases() -> list[Path]:
    """The scripts."""
    return sorted(GOLDEN.glob("*.json"))


def render(script_path: Path, step: int = 0) -> str:
    """The SSE of a script; `step` bytes a read, all at once for 0."""
    case = json.loads(script_path.read_text("utf-8"))
    ids = (f"tooluse_{number}" for number in range(1, 100))
    data = compile_script(case["script"], lambda: next(ids)).body
    expect = case.get("expect", {})
    reply = Reply(
        Expectations(
            thinking=expect.get("thinking", False),
            stop_sequences=expect.get("stop_sequences", []),
            client_names=expect.get("client_names", {}),
            needs_input=frozenset(expect.get("needs_input", [])),
            input_tokens=42,
        )
    )
    stream = AnthropicStream("msg_golden", "claude-sonnet-4-5", 42, "req_golden")
    decoder = Decoder()
    out = b""
    try:
        for begin in range(0, len(data), step or len(data)):
            events = reply.feed(
                parse_events(decoder.feed(data[begin : begin + (step or len(data))]))
            )
            out += stream.feed(events) if events else b""
        decoder.close()
        out += stream.feed(reply.close())
    except KiroProxyError as error:
        out += stream.feed(reply.fail(error))
    return out.decode()


if __name__ == "__main__":
    for path in cases():
        path.with_suffix(".sse").write_text(render(path), "utf-8")
