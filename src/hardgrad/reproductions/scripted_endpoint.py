"""ScriptedEndpoint: a chat endpoint on this machine that says what it was told to say, well or badly. For reproductions and tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """One scripted reply.

    Parameters
    ----------
    content : text of the completion.
    status : of HTTP.
    body : sent in the place of a completion.
    silent : keep the connection open and send nothing.
    drips : send the body byte after byte, never to an end.
    tokens : log-probabilities by token, joined they are the content.
    usage : whether the tokens used are told.
    headers : further headers.
    """

    content: str = ""
    status: int = 200
    body: bytes | None = None
    silent: bool = False
    drips: bool = False
    tokens: tuple[tuple[str, float], ...] = ()
    usage: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        """Return the body: a completion in the form of the OpenAI API, or what is sent in its place."""
        if self.body is not None:
            return self.body
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": self.content}}
        if self.tokens:
            choice["logprobs"] = {"content": [{"token": token, "logprob": p} for token, p in self.tokens]}
        completion: dict[str, Any] = {"object": "chat.completion", "choices": [choice]}
        if self.usage:
            completion["usage"] = {"total_tokens": 100}
        return json.dumps(completion).encode()


@dataclass
class ScriptedEndpoint:
    """Serves replies in turn, over and over, on a free port of the loopback address; used as a context manager.

    Parameters
    ----------
    replies : at least one.

    Attributes
    ----------
    requests : what was asked so far, as parsed JSON, with the headers under "headers".

    Examples
    --------
    >>> with ScriptedEndpoint([Reply("hello")]) as endpoint:
    ...     endpoint.url.startswith("http://127.0.0.1:")
    True
    """

    replies: Iterable[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        """Begin to serve."""
        replies, requests, self._closing = list(self.replies), self.requests, threading.Event()
        closing, lock = self._closing, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    reply = replies[len(requests) % len(replies)]
                    requests.append({**asked, "path": self.path, "headers": dict(self.headers)})
                if reply.silent:
                    closing.wait()
                    return
                body = reply.to_bytes()
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if not reply.drips:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if reply.drips:
                    while not closing.wait(0.01):
                        try:
                            self.wfile.write(b" ")
                        except OSError:  # the client has gone
                            return
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Let silent connections go, and stop."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address, as a proposer takes it."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/v1"
