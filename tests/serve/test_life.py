"""A server's life: loading, clients that leave, draining, models that come and go, logs and counts."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pumice.errors import CheckpointError, UsageError
from pumice.serve.backend import Full
from pumice.serve.filtering import OutputFilter, Withheld, find_filter
from pumice.serve.run import bind

from .conftest import Live, Make, data_url, png, shown, until
from .scripted import Scripted

CHAT = {"model": "one", "messages": [{"role": "user", "content": "Hi"}]}


def posting(live: Live, body: dict[str, Any], path: str = "/v1/chat/completions") -> socket.socket:
    """A connection with a call on its way."""
    data = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", live.port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    sock.sendall(head.encode() + data)
    return sock


def test_503_until_the_model_is_there(make: Make) -> None:
    there = threading.Event()
    backend = Scripted()

    def load(_: Any) -> Scripted:
        there.wait(20)
        return backend

    live = make(load=load, wait=False)
    health = live.client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "loading"})
    reply = live.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    assert "retry-after" in reply.headers
    assert live.client.get("/v1/models").status_code == 200
    there.set()
    until(lambda: live.client.get("/health").status_code == 200)
    assert live.chat().status_code == 200


def test_a_model_that_cannot_be_loaded_ends_the_server(make: Make) -> None:
    def load(_: Any) -> Scripted:
        raise CheckpointError("no weights", where="/nowhere")

    live = make(load=load, wait=False)
    live.thread.join(20)
    assert not live.thread.is_alive()
    assert isinstance(live.server.error, CheckpointError)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hold_after", [None, 1])
def test_a_client_that_leaves_ends_its_request(
    live: Live, stream: bool, hold_after: int | None, path: str
) -> None:
    live.backend.hold, live.backend.hold_after = True, hold_after
    sock = posting(live, {**CHAT, "input": "Hi", "stream": stream}, path)
    assert live.backend.wait_for(lambda: live.backend.open == 1)
    if stream and hold_after:
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    sock.close()
    assert live.backend.asked[0].aborted.wait(20)
    assert live.backend.wait_for(lambda: live.backend.open == 0)
    until(lambda: not live.service.open)
    assert live.service.metrics.count("pumice_aborted_total", model="one") == 1
    until(live.log.read_text)
    entry = json.loads(live.log.read_text())
    assert entry["left"] is True
    assert entry["status"] == (200 if stream and hold_after else 499)


def test_a_full_queue_is_no_news_where_the_client_has_left(
    live: Live, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, left = threading.Event(), threading.Event()

    def submit(*_: Any) -> None:
        came.set()
        left.wait(20)
        raise Full(1.0)

    monkeypatch.setattr(live.backend, "submit", submit)
    sock = posting(live, CHAT)
    assert came.wait(20)
    sock.close()
    until(lambda: not live.service.open)
    left.set()
    live.stop()
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_200_clients_that_vanish_leave_nothing(live: Live) -> None:
    live.backend.hold = True
    body = {"model": "one", "messages": shown(data_url(png())), "stream": True}
    for _ in range(4):
        socks = [posting(live, body) for _ in range(50)]
        assert live.backend.wait_for(lambda: live.backend.open > 0)
        for sock in socks:
            sock.close()
    until(lambda: not live.service.open)
    assert live.backend.wait_for(lambda: live.backend.open == 0)
    assert live.service.budget.held == 0
    live.backend.release()
    assert live.chat().status_code == 200


def test_draining_finishes_what_runs_and_lets_nothing_in(make: Make) -> None:
    live = make()
    live.backend.hold, live.backend.hold_after = True, 1
    with ThreadPoolExecutor(2) as pool:
        streamed = pool.submit(lambda: live.chat("Hi", stream=True).text)
        assert live.backend.wait_for(lambda: live.backend.open == 1)
        waited: list[int] = []
        live.server.waits = waited.append
        live.server.handle_exit(signal.SIGTERM, None)
        until(lambda: waited == [1])
        refused = live.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert "retry-after" in refused.headers
        assert live.client.get("/health").json() == {"status": "draining"}
        live.backend.release()
        assert streamed.result(20).endswith("data: [DONE]\n\n")
    assert waited == [1], "told once"
    live.client.close()
    live.thread.join(20)
    assert not live.thread.is_alive()
    assert live.backend.closed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", ["time", "a second signal"])
def test_draining_has_an_end_that_clients_are_told(
    make: Make, stream: bool, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    live = make(drain_seconds=0.05 if by == "time" else 60.0)
    live.backend.hold, live.backend.hold_after = True, 1
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: live.chat("Hi", stream=stream))
        assert live.backend.wait_for(lambda: live.backend.open == 1)
        live.server.handle_exit(signal.SIGTERM, None)
        if by != "time":
            live.server.handle_exit(signal.SIGTERM, None)
        reply = asked.result(20)
    assert "gave this request up" in reply.text
    assert reply.status_code == (200 if stream else 503)
    live.client.close()
    live.thread.join(20)
    assert not live.thread.is_alive()
    assert live.backend.asked[0].aborted.is_set()
    assert "Traceback" not in caplog.text


def test_idle_models_are_let_go_and_come_back(make: Make) -> None:
    now = [0.0]
    live = make("one", "two", at_start=False, idle_seconds=60, clock=lambda: now[0])
    assert live.client.get("/health").status_code == 200
    assert live.chat().status_code == 200
    states = live.service.models.all
    assert (states["one"].state, states["two"].state) == ("ready", "out")
    until(lambda: states["one"].users == 0)  # the reply is there a little before
    now[0] = 61.0
    until(lambda: live.backend.closed)
    assert states["one"].state == "out"
    assert live.chat().status_code == 200


def test_a_model_in_use_is_never_let_go(make: Make) -> None:
    now = [0.0]
    live = make(at_start=False, idle_seconds=60, clock=lambda: now[0])
    live.backend.hold = True
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(live.chat)
        assert live.backend.wait_for(lambda: live.backend.open == 1)
        now[0] = 1000.0
        out = live.client.post("/api/generate", json={"model": "one", "keep_alive": 0})
        assert out.status_code == 200
        assert not live.backend.closed
        live.backend.release()
        assert answer.result(20).status_code == 200


def test_a_load_that_fails_later_is_503_and_is_tried_again(make: Make) -> None:
    backend, fails = Scripted(), [True]

    def load(_: Any) -> Scripted:
        if fails[0]:
            raise CheckpointError("no weights", where="/nowhere/one")
        return backend

    live = make(load=load, at_start=False)
    reply = live.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_failed")
    assert "/nowhere" not in reply.text
    fails[0] = False
    assert live.chat().status_code == 200


def test_the_log_has_no_content_by_default(live: Live) -> None:
    picture = data_url(png())
    live.chat(shown(picture, "a secret question"))
    until(live.log.read_text)
    text = live.log.read_text()
    entry = json.loads(text)
    assert (entry["route"], entry["status"], entry["model"], entry["images"]) == (
        "/v1/chat/completions", 200, "one", 1
    )  # fmt: skip
    assert (entry["prompt_tokens"], entry["completion_tokens"], entry["finish"]) == (101, 3, ["stop"])
    assert entry["seed"] >= 0, "drawn for it, and told"
    assert "secret" not in text
    assert picture[-20:] not in text


def test_content_is_logged_when_wanted_and_pictures_by_size(make: Make) -> None:
    live = make(log_content=True)
    picture = data_url(png())
    live.chat(shown(picture, "a question\x1b[2J"))
    until(live.log.read_text)
    text = live.log.read_text()
    entry = json.loads(text)
    assert entry["asked"] == [
        {"messages": [{"role": "user", "content": "[picture 8 x 6]\na question\x1b[2J"}]}
    ]
    assert entry["answered"][0].startswith("You said a question")
    assert "\x1b" not in text
    assert picture[-20:] not in text


def test_metrics(live: Live) -> None:
    live.chat(shown(data_url(png())))
    live.client.get("/no" + "x" * 50)
    reply = live.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = reply.text.splitlines()
    for line in (
        'pumice_requests_total{route="/v1/chat/completions",status="200"} 1',
        'pumice_requests_total{route="other",status="404"} 1',
        'pumice_prompt_tokens_total{model="one"} 101',
        'pumice_completion_tokens_total{model="one"} 3',
        "pumice_images_total 1",
        'pumice_requests_running{model="one"} 0',
        'pumice_time_to_first_token_seconds_bucket{model="one",le="0.5"} 1',
        'pumice_time_to_first_token_seconds_bucket{model="one",le="+Inf"} 1',
        'pumice_image_encode_seconds_sum{model="one"} 0.2',
        'pumice_queue_seconds_count{model="one"} 1',
    ):
        assert line in lines, line


class Without:
    """A filter that holds back the last word and ends the answer at "bad"."""

    def __init__(self) -> None:
        self.held = ""

    def push(self, text: str) -> str:
        self.held += text
        if "bad" in self.held:
            raise Withheld
        shown, space, self.held = self.held.rpartition(" ")
        return shown + space

    def finish(self) -> str:
        return self.held.upper()


def test_the_filter_sees_all_text_first(make: Make) -> None:
    made: list[OutputFilter] = []

    def make_filter() -> OutputFilter:
        made.append(Without())
        return made[-1]

    live = make(make_filter=make_filter)
    choice = live.chat("hello").json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("You said HELLO", "stop")
    choice = live.chat("so bad a word").json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("You said ", "content_filter")
    text = live.chat("so bad a word", stream=True).text
    assert "bad" not in text
    assert '"content_filter"' in text
    assert live.chat(logprobs=True).status_code == 400
    assert len(made) == 3


def test_filters_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "Without", Without, raising=False)
    assert find_filter("json:Without") is Without
    for name in ("nothing", "no.such.module:a", "json:nothing", "json:JSONDecoder"):
        with pytest.raises(UsageError):
            find_filter(name)


def test_32_requests_at_once(live: Live) -> None:
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda k: live.chat(shown(data_url(png(8 + k, 6)), f"n{k}")), range(32)))
    assert [reply.status_code for reply in replies] == [200] * 32
    for number, reply in enumerate(replies):
        assert reply.json()["choices"][0]["message"]["content"] == f"You said n{number}[{8 + number}x6]"


def test_the_server_imports_no_torch() -> None:
    code = "import sys, pumice.serve.run; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_pieces_are_sent_at_once() -> None:
    """Nagle's algorithm is off, so no token waits for the client's word that the one before has come."""

    async def option() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            found.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with bind("127.0.0.1", 0) as sock:
            server = await asyncio.start_server(connected, sock=sock)
            async with server:
                _, writer = await asyncio.open_connection(*sock.getsockname())
                writer.close()
                return await found

    assert asyncio.run(option()) != 0
