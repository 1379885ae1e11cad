"""Shell lines of documents with the real curl, against a server that listens elsewhere."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import Proxy, require_tool

MARK = "=== "
PLACES = ("127.0.0.1:8990", "localhost:8990", "localhost:8080", "127.0.0.1:8080")
"""Where documents say that the server is."""


@dataclass(frozen=True)
class Answer:
    """What one curl printed."""

    status: int
    content_type: str
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


def run(script: str, proxy: Proxy, place: Path, **environ: str) -> list[Answer]:
    """Run lines as they stand: one answer for each curl in them.

    The lines are not touched. curl is told by its own configuration that the documents' addresses
    are at the proxy's port, and to say status and type after each answer.
    """
    require_tool("curl")
    lines = [f'connect-to = "{one}:127.0.0.1:{proxy.port}"' for one in PLACES]
    lines += ["silent", "show-error", "max-time = 30"]
    lines.append(f'write-out = "\\n{MARK}%{{http_code}} %{{content_type}}\\n"')
    (place / ".curlrc").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(place), "HOME": str(place)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    found = re.findall(rf"(.*?)\n{MARK}(\d+) (.*?)\n", done.stdout, re.DOTALL)
    return [Answer(int(status), kind, body) for body, status, kind in found]
