"""A stand-in for a model server: answers as OpenAI-compatible servers do, `python standin.py MODEL PORT`.

A file `behaviour` in the folder MODEL says how: `ok` takes 50 ms, `silent` says nothing, `broken` does not start. Without the
file it answers at once, so that what is measured is the gateway.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.05


def main() -> None:
    """Serve until killed."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    file = folder / "behaviour"
    Handler.behaviour = file.read_text(encoding="utf-8") if file.exists() else ""
    if Handler.behaviour == "broken":
        sys.exit("no such weights")
    Handler.text = "" if Handler.behaviour == "silent" else f"I am {folder.parent.name}"
    (folder / "pid").write_text(str(os.getpid()), encoding="utf-8")
    Server(("127.0.0.1", port), Handler).serve_forever()


class Handler(BaseHTTPRequestHandler):
    """Answers every request alike."""

    protocol_version = "HTTP/1.1"
    behaviour = ""
    text = ""

    def do_GET(self) -> None:
        """Say that all is well."""
        self._say({})

    def do_POST(self) -> None:
        """Answer a chat, as a stream where that is asked for."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.behaviour:
            time.sleep(PAUSE_SECONDS)
        if body.get("stream"):
            self._stream()
        else:
            message = {"role": "assistant", "content": self.text}
            self._say({"id": "1", "model": body.get("model", ""), "choices": [{"message": message}]})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in self.text.split():
            self.wfile.write(f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n".encode())
            self.wfile.flush()
            time.sleep(PAUSE_SECONDS)
        self.close_connection = True

    def _say(self, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Takes many clients at once."""

    request_queue_size = 128


if __name__ == "__main__":
    main()
