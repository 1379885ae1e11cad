"""Play a program on a connection."""

from kiroproxy.simulator.exchange import status_line
from kiroproxy.simulator.script import Op, Pass, Pause, Program, Write
from kiroproxy.simulator.server import ClientGone, Connection
from kiroproxy.simulator.state import Fault, State


def response_head(program: Program, request_id: str, *, keep: bool) -> bytes:
    """Status line and headers."""
    headers = {"x-amzn-requestid": request_id, **program.headers}
    if program.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif program.length is not None:
        headers["content-length"] = str(program.length)
    if not keep:
        headers["connection"] = "close"
    lines = [f"HTTP/1.1 {status_line(program.status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def play(
    program: Program, connection: Connection, state: State, *, request_id: str, bearer: str
) -> bool:
    """Answer with a program; return whether the client stayed to the end."""
    counters = state.counters
    keep = connection.keeps and program.framing != "close"
    connection.begin(keep=keep)
    counters.streams_open += 1
    played = -1
    try:
        ended = run_ops(program.before, connection, state)
        head = b"" if ended else response_head(program, request_id, keep=keep)
        for index, op in enumerate(program.ops if not ended else []):
            if head and isinstance(op, Write):
                op = Write(head + op.data)
            elif head:
                connection.send(head)
            head = b""
            ended = run_ops([op], connection, state)
            played = index
    except ClientGone:
        counters.departed(bearer, complete=played >= program.last_frame)
        connection.end("close")
        return False
    finally:
        counters.streams_open -= 1
    if ended == "finish":
        counters.streams_finished += 1
    else:
        counters.streams_broken += 1
    return True


def run_ops(ops: list[Op], connection: Connection, state: State) -> str | None:
    """Do what the operations say; return how it ended, if it did.

    Raises:
        ClientGone: the client left.
    """
    for op in ops:
        if isinstance(op, Write):
            connection.send(op.data)
        elif isinstance(op, Pause):
            connection.sleep(op.seconds)
        elif isinstance(op, Pass):
            connection.pass_gate(state.gate(op.gate))
        else:
            if op.how != "finish":
                connection.end(op.how)
            return op.how
    return None


def suffer(fault: Fault, connection: Connection, state: State) -> str | None:
    """Do what a fault does to the connection; return how the connection ends, if it does."""
    try:
        if fault.gate:
            connection.pass_gate(state.gate(fault.gate))
        if fault.delay:
            connection.sleep(fault.delay)
        if fault.end == "hang":
            connection.sleep(None)
    except ClientGone:
        return "close"
    return fault.end
