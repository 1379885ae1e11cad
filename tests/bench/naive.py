"""The naive yardstick: what one writes in an afternoon with flask and requests.

Translation only: no keys, no credentials, no checks, no logs, no metrics, no checksums of frames,
no care for clients that leave. `iter_content(None)`, the standard library's json, one yield per
event. In its favour it keeps one `Session` with a large pool and reads nothing from the
environment; a session per request would cost it another 1.5 ms.

    KIRO_URL=http://… python -m gunicorn -k gevent tests.bench.naive:app
"""

import json
import os
import struct
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import requests
import requests.adapters
from flask import Flask, Response, jsonify, request

KIRO_URL = os.environ.get("KIRO_URL", "http://127.0.0.1:9100")
WINDOW = 200_000

app = Flask("naive")
session = requests.Session()
session.trust_env = False
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=10, pool_maxsize=1000))


@app.get("/health")
def health() -> Response:
    return jsonify(status="healthy")


@app.post("/v1/messages")
def messages() -> Response:
    body = request.get_json(force=True)
    upstream = session.post(
        f"{KIRO_URL}/generateAssistantResponse",
        data=json.dumps(kiro_body(body)),
        headers={"authorization": "Bearer token", "content-type": "application/json"},
        stream=True,
        timeout=120,
    )
    upstream.raise_for_status()
    events = frames(upstream.iter_content(None))
    if body.get("stream"):
        return Response(sse(events, body["model"]), content_type="text/event-stream")
    text, usage = "", 0
    for name, payload in events:
        if name == "assistantResponseEvent":
            text += payload["content"]
        elif name == "contextUsageEvent":
            usage = int(payload["contextUsagePercentage"] * WINDOW / 100)
    return jsonify(
        id=f"msg_{uuid.uuid4().hex}",
        type="message",
        role="assistant",
        model=body["model"],
        content=[{"type": "text", "text": text}],
        stop_reason="end_turn",
        stop_sequence=None,
        usage={"input_tokens": usage, "output_tokens": len(text) // 4},
    )


# ---- up ------------------------------------------------------------------------------------


def kiro_body(body: dict[str, Any]) -> dict[str, Any]:
    """The request as Kiro wants it."""
    turns = [turn(message) for message in body["messages"]]
    system = body.get("system")
    if system:
        turns.insert(0, user([{"type": "text", "text": flat(system)}]))
        turns.insert(1, {"assistantResponseMessage": {"content": "OK"}})
    current = turns.pop()
    if body.get("tools"):
        context = current["userInputMessage"].setdefault("userInputMessageContext", {})
        context["tools"] = [
            {
                "toolSpecification": {
                    "name": tool["name"],
                    "description": tool["description"],
                    "inputSchema": {"json": tool["input_schema"]},
                }
            }
            for tool in body["tools"]
        ]
    return {
        "conversationState": {
            "conversationId": str(uuid.uuid4()),
            "chatTriggerType": "MANUAL",
            "currentMessage": current,
            "history": turns,
        }
    }


def flat(content: Any) -> str:
    """The text of a string or of blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def turn(message: dict[str, Any]) -> dict[str, Any]:
    """One message."""
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if message["role"] == "user":
        return user(blocks)
    said: dict[str, Any] = {"content": flat(blocks)}
    uses = [
        {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}
        for block in blocks
        if block["type"] == "tool_use"
    ]
    if uses:
        said["toolUses"] = uses
    return {"assistantResponseMessage": said}


def user(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """A user's message."""
    said: dict[str, Any] = {
        "content": flat(blocks) or " ",
        "modelId": "claude-sonnet-4.5",
        "origin": "AI_EDITOR",
    }
    results = [
        {
            "toolUseId": block["tool_use_id"],
            "content": [{"text": flat(block["content"])}],
            "status": "success",
        }
        for block in blocks
        if block["type"] == "tool_result"
    ]
    if results:
        said["userInputMessageContext"] = {"toolResults": results}
    return {"userInputMessage": said}


# ---- down ----------------------------------------------------------------------------------


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Event name and payload of each frame."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 12:
            total, headers_length = struct.unpack(">II", buffer[:8])
            if len(buffer) < total:
                break
            headers = parse_headers(buffer[12 : 12 + headers_length])
            yield headers[":event-type"], json.loads(buffer[12 + headers_length : total - 4])
            buffer = buffer[total:]


def parse_headers(block: bytes) -> dict[str, str]:
    """Headers of the one type that Kiro sends: strings."""
    headers = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        value = name_end + 3
        end = value + int.from_bytes(block[name_end + 1 : value], "big")
        headers[block[at + 1 : name_end].decode()] = block[value:end].decode()
        at = end
    return headers


def event(name: str, **data: Any) -> str:
    """One SSE event."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n"


def sse(events: Iterable[tuple[str, Any]], model: str) -> Iterator[str]:
    """The answer, event by event."""
    message: dict[str, Any] = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    size = used = 0
    for name, payload in events:
        if name == "assistantResponseEvent":
            text = payload["content"]
            size += len(text)
            delta = {"type": "text_delta", "text": text}
            yield event("content_block_delta", index=0, delta=delta)
        elif name == "contextUsageEvent":
            used = int(payload["contextUsagePercentage"] * WINDOW / 100)
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"input_tokens": used, "output_tokens": size // 4},
    )
    yield event("message_stop")
