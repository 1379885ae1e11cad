"""Web search over MCP, with made-up results (pure): `protocol.md` 7."""

import json
from typing import Any

RESULTS = 3
INVALID_PARAMS, METHOD_NOT_FOUND = -32602, -32601
TOOL = {
    "name": "web_search",
    "description": "Search the web (simulated)",
    "inputSchema": {"type": "object", "properties": {"query": {"type": "string"}}},
}


def search_answer(call: dict[str, Any], now: float) -> dict[str, Any]:
    """Answer a JSON-RPC call.

    A query that contains `[[sim: nothing]]`, `[[sim: fail]]` or `[[sim: error]]` finds nothing, is
    answered with `isError`, or with a JSON-RPC error.
    """
    head = {"id": call.get("id"), "jsonrpc": "2.0"}
    if call.get("method") == "tools/list":
        return {**head, "result": {"tools": [TOOL]}}
    if call.get("method") != "tools/call":
        return {**head, "error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
    params = call.get("params") or {}
    query = (params.get("arguments") or {}).get("query")
    if params.get("name") != "web_search" or not isinstance(query, str) or not query.strip():
        return {**head, "error": {"code": INVALID_PARAMS, "message": "Invalid params"}}
    if "[[sim: error]]" in query:
        return {**head, "error": {"code": -32603, "message": "Simulated failure"}}
    failed = "[[sim: fail]]" in query
    count = 0 if failed or "[[sim: nothing]]" in query else RESULTS
    found = {
        "results": [_result(query, number, now) for number in range(1, count + 1)],
        "totalResults": count,
        "query": query,
        "error": "Simulated failure" if failed else None,
    }
    content = [{"type": "text", "text": json.dumps(found, ensure_ascii=True)}]
    return {**head, "result": {"content": content, "isError": failed}}


def _result(query: str, number: int, now: float) -> dict[str, Any]:
    return {
        "title": f"Simulated result {number} for {query}",
        "url": f"https://example.com/simulated/{number}",
        "snippet": f"Simulated snippet {number}; nobody searched for “{query}”.",
        "publishedDate": int((now - number * 86_400) * 1000),
        "id": f"simulated-{number}",
        "domain": "example.com",
        "maxVerbatimWordLimit": 30,
        "publicDomain": False,
    }
