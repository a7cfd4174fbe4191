"""An OpenAI-compatible provider on loopback: answers "Paris." or with vectors, fails or hangs, and keeps what it was sent.

``script`` answers by what a request holds, where a test needs that: the text, or the HTTP status that it fails with.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it arrived; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Upstream:
    """A context manager; ``status`` and ``hangs`` decide what the next request gets, ``may_answer`` when."""

    def __init__(self, text: str = "Paris.") -> None:
        self.text = text
        self.script: Callable[[dict[str, Any]], str | int] | None = None
        self.status = 200
        self.hangs = False
        self.requests: list[Received] = []
        self.reached = threading.Event()
        self.hung_up = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL, with its ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hung_up.set()
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, upstream: Upstream, *args: Any) -> None:
        self._upstream = upstream
        self._scripted: str | int | None = None
        super().__init__(*args)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._upstream.requests.append(Received(path=self.path, headers=headers, body=body))
        self._upstream.reached.set()
        if self._upstream.hangs:
            self._hang()
        elif (status := self._status(body)) != 200:
            self._begin("application/json", status)
            said = f"busy; you are {headers.get('authorization')} {headers.get('x-api-key')} {headers.get('x-goog-api-key')}"
            self.wfile.write(json.dumps({"error": {"message": said}}).encode())
        elif self.path.endswith("/embeddings"):
            self._embed(body["input"])
        else:
            self._upstream.may_answer.wait(60)
            self._answer(self._scripted if isinstance(self._scripted, str) else self._upstream.text)
        self.close_connection = True

    def _status(self, body: dict[str, Any]) -> int:
        self._scripted = self._upstream.script(body) if self._upstream.script else None
        return self._scripted if isinstance(self._scripted, int) else self._upstream.status

    def do_GET(self) -> None:
        """The list of models."""
        self._begin("application/json", self._upstream.status)
        self.wfile.write(json.dumps({"object": "list", "data": []}).encode())
        self.close_connection = True

    def _begin(self, content_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("connection", "close")
        self.end_headers()

    def _answer(self, text: str) -> None:
        self._begin("text/event-stream")
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        parts: tuple[dict[str, Any], ...] = (
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        )
        for part in parts:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **part}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _embed(self, texts: list[str]) -> None:
        """Vectors of two dimensions: how long a text is, and how many spaces it has."""
        self._begin("application/json")
        rows = [{"index": place, "embedding": [len(text), text.count(" ")]} for place, text in enumerate(texts)]
        usage = {"prompt_tokens": 20, "total_tokens": 20}
        self.wfile.write(json.dumps({"object": "list", "data": rows, "model": "m", "usage": usage}).encode())

    def _hang(self) -> None:
        self._begin("text/event-stream")
        while not self._upstream.hung_up.wait(0.02):
            try:
                self.wfile.write(b": still here\n\n")
                self.wfile.flush()
            except OSError:
                self._upstream.hung_up.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""
