"""A model of ours behind the smallest OpenAI-compatible server, for other people's tools on this machine.

    python benchmarks/openai_stand_in.py tiny --port 8000

It knows ``GET /v1/models`` and ``POST /v1/chat/completions``: text, pictures as ``data:`` addresses, system
and earlier turns, ``max_tokens``, ``temperature``, ``top_p``, ``seed`` and ``stop``. What it does not know is
an error that says so. It listens on 127.0.0.1 alone, asks for no key, and answers one request after another.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image

from pumice.cli.models import find_model, label, load_generator
from pumice.errors import PumiceError
from pumice.image.decode import frame_rgb
from pumice.infer import Generator, Request, Sampling
from pumice.types import Image, Message, Text

ROLES = ("system", "user", "assistant")
REFUSED = {"stream": True, "tools": None, "logprobs": True}
"""Members that change what must come back; None refuses any value."""
LARGEST = 64 << 20
"""Bytes of a request."""


class Refused(Exception):
    """A request that cannot be carried out as given."""


def request_of(body: Mapping[str, Any]) -> Request:
    """The request that the body of a chat call stands for.

    Raises:
        Refused: it asks for something that this server does not know.
        PumiceError: a picture cannot be read, or a setting is out of its range.
    """
    for name, value in REFUSED.items():
        if body.get(name) and (value is None or body[name] == value):
            raise Refused(f"{name} is not known here")
    if body.get("n") not in (None, 1):
        raise Refused("n is not known here: one answer comes back")
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Refused("messages is no list of turns")
    pictures: list[PIL.Image.Image] = []
    messages = tuple(_message(turn, pictures) for turn in turns)
    if messages[-1].role != "user":
        raise Refused("the last turn is not the user's")
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 512
    stop = body.get("stop") or []
    given = {name: body[name] for name in ("temperature", "top_p", "seed") if body.get(name) is not None}
    return Request(
        messages,
        tuple(pictures),
        Sampling(**{"temperature": 1.0} | given),
        int(limit),
        (stop,) if isinstance(stop, str) else tuple(stop),
    )


def _message(turn: Any, pictures: list[PIL.Image.Image]) -> Message:
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in ROLES:
        raise Refused(f"a turn's role is {role!r}: there are {', '.join(ROLES)}")
    content = turn.get("content")
    if isinstance(content, str):
        return Message(role, (Text(content),))
    parts: list[Image | Text] = []
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            parts.append(Text(str(part["text"])))
        elif kind == "image_url":
            pictures.append(_picture(part["image_url"]))
            parts += [Image(len(pictures) - 1), Text("\n")]  # as LLaVA writes pictures
        else:
            raise Refused(f"a part of type {kind!r} is not known here")
    if not parts:
        raise Refused("a turn has no content")
    return Message(role, tuple(parts))


def _picture(address: Any) -> PIL.Image.Image:
    url = address.get("url", "") if isinstance(address, dict) else str(address)
    head, comma, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or not comma:
        raise Refused("a picture is no data: address; nothing is fetched from elsewhere")
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            return frame_rgb(image, Path("the picture of the request"))
    except (binascii.Error, OSError) as error:
        raise Refused(f"a picture cannot be read: {error}") from error


class Service:
    """One model, one request after another."""

    def __init__(self, generator: Generator, name: str) -> None:
        self.generator, self.name = generator, name
        self._lock = threading.Lock()
        self._count = 0

    def models(self) -> dict[str, Any]:
        """The reply to ``GET /models``."""
        return {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "pumice"}]}

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to ``POST /chat/completions``; errors as ``request_of``."""
        if body.get("model") != self.name:
            raise LookupError(f"there is no model {body.get('model')!r}; this server has {self.name!r}")
        request = request_of(body)
        with self._lock:
            (done,) = self.generator.generate([request])
            self._count += 1
            number = self._count
        made = len(done.token_ids)
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": done.text},
                    "finish_reason": done.finish,
                }
            ],
            "usage": {
                "prompt_tokens": done.prompt_tokens,
                "completion_tokens": made,
                "total_tokens": done.prompt_tokens + made,
            },
        }


def server_of(service: Service, port: int) -> ThreadingHTTPServer:
    """The server, on 127.0.0.1; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.rstrip("/") in ("/v1/models", "/models"):
                self._send(200, service.models())
            else:
                self._refuse(404, f"there is no {self.path} here")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > LARGEST:
                self.close_connection = True
                self._refuse(413, f"the request is larger than {LARGEST} bytes")
                return
            data = self.rfile.read(length)
            if self.path.rstrip("/") not in ("/v1/chat/completions", "/chat/completions"):
                self._refuse(404, f"there is no {self.path} here")
                return
            try:
                body = json.loads(data)
                if not isinstance(body, dict):
                    raise Refused("the request is no JSON object")
                self._send(200, service.answer(body))
            except LookupError as error:
                self._refuse(404, str(error.args[0]))
            except (Refused, PumiceError, ValueError, TypeError) as error:
                self._refuse(400, str(error))

        def _refuse(self, status: int, words: str) -> None:
            kind = "invalid_request_error"
            self._send(status, {"error": {"message": words, "type": kind, "param": None, "code": None}})

        def _send(self, status: int, value: Mapping[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


def main(words: Sequence[str] | None = None) -> None:
    """Load the model, say where it is, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a model's folder, a run's folder, or a shipped model such as tiny")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    given = parser.parse_args(words)
    service = Service(load_generator(find_model(given.model)), label(given.model))
    with server_of(service, given.port) as server:
        print(f"{service.name} at http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
