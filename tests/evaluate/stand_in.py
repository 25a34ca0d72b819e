"""A chat server on this machine that does what a test tells it, misbehaviour included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Body = dict[str, Any]
Action = Callable[[BaseHTTPRequestHandler], None]
Answers = Callable[[Body], "str | Action"]


def says(text: str, **more: Any) -> Action:
    """A good reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return replies(200, {"model": "judge-1-exact", "choices": [choice], "usage": usage} | more)


def replies(status: int, value: Any, **headers: str) -> Action:
    """Any reply: an object as JSON, text as it is."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        handler.send_response(status)
        for name, content in headers.items():
            handler.send_header(name.replace("_", "-"), content)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


def fails(status: int, message: str, code: str | None = None, **headers: str) -> Action:
    """An error in OpenAI's form."""
    return replies(status, {"error": {"message": message, "type": "error", "code": code}}, **headers)


def cuts(handler: BaseHTTPRequestHandler) -> None:
    """Promises more than it sends, and hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


class StandIn:
    """The server, while it is entered.

    Attributes:
        url: its address, without ``/v1``.
        bodies: of the chat calls, in the order they came.
        keys: the Authorization header of every call.
        paths: of every call.
        released: what ``hangs`` waits for; set at the end.
        busiest: the most calls that were under way at once.
    """

    def __init__(
        self, answers: Answers | list[str | Action], models: tuple[str, ...] | Action = ("judge-1",)
    ):
        self.bodies: list[Body] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.busiest = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._models = models
        self._script = answers if isinstance(answers, list) else None
        self._answers = answers if callable(answers) else None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def hangs(self, handler: BaseHTTPRequestHandler) -> None:
        """Says nothing until the test is over."""
        self.released.wait(30)
        handler.close_connection = True

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _act(self, body: Body) -> str | Action:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
        if self._answers is not None:
            return self._answers(body)
        assert self._script is not None
        return self._script[min(number, len(self._script) - 1)]

    def _handler(stand_in) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._note()
                models = stand_in._models
                if callable(models):
                    models(self)
                    return
                replies(200, {"object": "list", "data": [{"id": name} for name in models]})(self)

            def do_POST(self) -> None:
                self._note()
                with stand_in._lock:
                    stand_in._busy += 1
                    stand_in.busiest = max(stand_in.busiest, stand_in._busy)
                stand_in.arrived.release()
                try:
                    action = stand_in._act(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                    (says(action) if isinstance(action, str) else action)(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with stand_in._lock:
                        stand_in._busy -= 1

            def _note(self) -> None:
                with stand_in._lock:
                    stand_in.keys.append(self.headers.get("Authorization"))
                    stand_in.paths.append(self.path)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
