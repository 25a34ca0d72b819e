"""Bad requests out of a seed: members of wrong kinds, pictures of every damage, addresses that are none, HTTP
that is none."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import PIL.Image

from pumice.serve.openapi import BODIES

POSTS = tuple(BODIES)
WORDS = (
    "",
    "a",
    "<image>",
    "</s>",
    "\ud800",
    "\0",
    "🜁" * 9,
    "x" * 3000,
    "../../etc/passwd",
    "{{7*7}}",
    "-1",
    "1e999",
)
NUMBERS = (0, -1, 1, 2**31, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e-9, 1e308, 100, 10**6)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
HEADS = (
    "data:image/png;base64,", "DATA:;BASE64,", "data:None;base64,", "data:image/png;base64", "data:",
    "data:,",
    "data:image/png,", "data:;charset=x;base64,,", " data:image/svg+xml;base64,", "http://127.0.0.1:1/", "file:///",
    "http://169.254.169.254/", "https://[::1]/", "blob:", "//x/", "", "javascript:", "http://0x7f.1/", "ftp://a/",
)  # fmt: skip
RAW = (
    b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\0\xff\xfe" * 50,
    b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n{}{}",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"b" * 70_000 + b"\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
)  # fmt: skip


@dataclass(frozen=True)
class Bad:
    """A request: a method, a path and a body; or bytes that are sent as they are."""

    method: str = "POST"
    path: str = "/"
    body: bytes = b""
    raw: bytes | None = None


def bad_request(draw: random.Random) -> Bad:
    """The next one."""
    kind: Callable[[random.Random], Bad] = draw.choices(
        [_members, _picture, _body, _elsewhere, _raw], [40, 40, 10, 5, 5]
    )[0]
    return kind(draw)


def _value(draw: random.Random, depth: int = 3) -> Any:
    """Anything that JSON can say."""
    kind = draw.randrange(8 if depth else 5)
    if kind >= 6:
        return {draw.choice(WORDS[:5]): _value(draw, depth - 1) for _ in range(draw.randrange(3))}
    if kind == 5:
        return [_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return [None, draw.random() < 0.5, draw.choice(NUMBERS), draw.choice(WORDS), draw.uniform(-3, 3)][kind]


def _whole(path: str) -> dict[str, Any]:
    """A request that would be answered, with two tokens."""
    messages = [{"role": "user", "content": "Hi"}]
    settings = (
        {"options": {"num_predict": 2}, "stream": False} if path.startswith("/api") else {"max_tokens": 2}
    )
    if path == "/v1/responses":
        return {"model": "tiny", "input": messages, "max_output_tokens": 2}
    asked = {"messages": messages} if "chat" in path else {"prompt": "Hi"}
    return {"model": "tiny", **asked, **settings}


def _first(body: dict[str, Any]) -> Any:
    """The first message, if there still is one."""
    messages = body.get("messages", body.get("input"))
    return messages[0] if isinstance(messages, list) and messages else None


def _members(draw: random.Random) -> Bad:
    """A request with members exchanged for anything."""
    path = draw.choice(POSTS)
    body = _whole(path)
    names = sorted(BODIES[path].model_fields)
    for _ in range(draw.randint(1, 3)):
        where, choices = (body, names)
        if "options" in body and isinstance(body["options"], dict) and draw.random() < 0.3:
            where, choices = (
                body["options"],
                ["temperature", "top_p", "top_k", "seed", "stop", "repeat_penalty"],
            )
        elif draw.random() < 0.4 and isinstance(first := _first(body), dict):
            where, choices = first, ["role", "content", "images", "tool_calls"]
        name = draw.choice(choices)
        if (
            name not in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n")
            or draw.random() < 0.2
        ):
            value = _value(draw)
            # An answer of full length is allowed, and takes its time: it is no bad request.
            where[name] = -1 if name.startswith("max") and isinstance(value, int) and value > 2 else value
    return Bad(path=path, body=json.dumps(body).encode())


def _picture(draw: random.Random) -> Bad:
    """A question with a picture that is none, or almost none."""
    data = _damaged(draw)
    text = base64.b64encode(data).decode()
    if draw.random() < 0.2:
        cut = draw.randrange(len(text) + 1)
        text = text[:cut] + draw.choice(["=", "%", "\n", "é", "@@", " ", "===="]) + text[cut:]
    path = draw.choice(["/v1/chat/completions", "/v1/responses", "/api/chat", "/api/generate"])
    body = _whole(path)
    head = HEADS[0] if draw.random() < 0.7 else draw.choice(HEADS)
    address: Any = head + text if draw.random() < 0.9 else _value(draw)
    count = draw.choice([1, 1, 1, 2, 17])
    if path == "/v1/chat/completions":
        part = {"type": "image_url", "image_url": {"url": address} if draw.random() < 0.7 else address}
        body["messages"][0]["content"] = [*[part] * count, {"type": "text", "text": draw.choice(WORDS)}]
    elif path == "/v1/responses":
        part = {"type": "input_image", "image_url": address}
        body["input"][0]["content"] = [*[part] * count, {"type": "input_text", "text": draw.choice(WORDS)}]
    else:
        images = [text if draw.random() < 0.7 else address] * count
        (body["messages"][0] if "messages" in body else body)["images"] = images
    return Bad(path=path, body=json.dumps(body).encode())


@cache
def _sample(kind: str) -> bytes:
    stream = io.BytesIO()
    PIL.Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(stream, kind)
    return stream.getvalue()


def _damaged(draw: random.Random) -> bytes:
    """A picture's file: cut short, with other bytes, of other sizes than it says, or no picture at all."""
    kind = draw.randrange(6)
    if kind == 0:
        return _claims(
            draw.choice([0, 1, 7000, 65_535, 2**31 - 1]), draw.choice([0, 1, 6001, 65_535, 2**31 - 1])
        )
    if kind == 1:
        return draw.randbytes(draw.randrange(200))
    if kind == 2:
        return draw.choice(
            [b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"P6 9 9 255\n", b"II*\0", b"%!PS"]
        )
    whole = bytearray(_sample(draw.choice(FORMATS)))
    for _ in range(draw.randrange(8)):
        whole[draw.randrange(len(whole))] = draw.randrange(256)
    return bytes(whole[: draw.randint(1, len(whole))] if kind == 3 else whole)


def _claims(width: int, height: int) -> bytes:
    """A small PNG that says it has these sides."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def _body(draw: random.Random) -> Bad:
    """Bytes in place of a request, or a request with bytes lost."""
    path = draw.choice(POSTS)
    whole = json.dumps(_whole(path)).encode()
    cut = draw.randrange(len(whole))
    choices = [draw.randbytes(80), whole[:cut], whole[:cut] + draw.randbytes(3) + whole[cut:], b"[" * 50_000]
    return Bad(path=path, body=draw.choice(choices))


def _elsewhere(draw: random.Random) -> Bad:
    """An address or a method that is not there."""
    path = draw.choice(
        [*POSTS, "/v1/models/%2e%2e%2f", "/nothing", "//", "/v1/chat/completions/", "/metrics/../api"]
    )
    return Bad(
        draw.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST", "HEAD"]), path, b"{}"
    )


def _raw(draw: random.Random) -> Bad:
    return Bad(raw=draw.choice(RAW))
