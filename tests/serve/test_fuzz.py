"""Thousands of bad requests to `pumice serve tiny`: no 5xx, no crash, nothing left running, level memory."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .conftest import data_url, png, until
from .fuzz import Bad, bad_request
from .real import Process, served

LEAKS = re.compile(r"Traceback|0x[0-9a-f]{6}|/site-packages/|/src/pumice/|BytesIO")
QUESTION = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Say it."}],
    "temperature": 0,
    "max_tokens": 9,
}
BUSY = ("pumice_requests_running", "pumice_requests_waiting", "pumice_tokens_held", "pumice_requests_open")


def send(address: tuple[str, int], bad: Bad) -> tuple[int, str]:
    """The status and text of an answer; status 0 where the connection was closed without one."""
    if bad.raw is not None:
        with socket.create_connection(address, timeout=60) as sock:
            sock.sendall(bad.raw)
            sock.shutdown(socket.SHUT_WR)
            text = b""
            try:
                while piece := sock.recv(1 << 16):
                    text += piece
            except ConnectionError:
                pass
        found = re.match(rb"HTTP/1.1 (\d+)", text)
        return (int(found[1]) if found else 0), text.decode("latin-1")
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request(bad.method, bad.path, bad.body)
        reply = connection.getresponse()
        return reply.status, reply.read().decode("utf-8", "replace")
    finally:
        connection.close()


def resident(process: Process) -> float:
    """MB."""
    text = Path(f"/proc/{process.process.pid}/status").read_text("ascii")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1000


def gauges(process: Process, *names: str) -> int:
    """The sum of some numbers of ``/metrics``."""
    lines = httpx2.get(f"{process.url}/metrics", timeout=60).text.splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


def busy(process: Process) -> int:
    """What runs, waits and is held, but for the call that asks."""
    return gauges(process, *BUSY) - 1


def storm(process: Process, count: int, seed: int) -> Counter[int]:
    """Send so many bad requests, eight at a time; how often each status came."""
    host, _, port = process.url.removeprefix("http://").partition(":")
    draw = random.Random(seed)
    all_ = [bad_request(draw) for _ in range(count)]
    found: Counter[int] = Counter()
    with ThreadPoolExecutor(8) as pool:
        for bad, (status, text) in zip(
            all_, pool.map(lambda one: send((host, int(port)), one), all_), strict=True
        ):
            assert status < 500, (bad, status, text)
            assert not LEAKS.search(text), (bad, text)
            found[status] += 1
    assert process.process.poll() is None
    return found


def check(process: Process, counts: tuple[int, ...], most_mb: float) -> Counter[int]:
    """Several storms; the memory may grow by so much after the first."""

    def answer() -> Any:
        return httpx2.post(f"{process.url}/v1/chat/completions", json=QUESTION, timeout=60).json()["choices"]

    before = answer()
    found: Counter[int] = Counter()
    memory = []
    for seed, count in enumerate(counts):
        found += storm(process, count, seed)
        until(lambda: busy(process) == 0)
        # Pictures that can be decoded after all are remembered, up to a bound of their own.
        memory.append(resident(process) - gauges(process, "pumice_picture_cache_bytes") / 1e6)
    print(dict(found), [round(one) for one in memory])
    assert answer() == before
    assert "ERROR" not in process.log.read_text()
    if Path("/proc/self/status").exists():
        assert memory[-1] - memory[0] < most_mb, memory
    return found


def test_bad_requests(tiny_server: Process) -> None:
    found = check(tiny_server, (300, 300), 60)
    assert found[400] > 200
    assert found[422] > 50


def test_200_clients_that_vanish_leave_no_place_taken(tiny_server: Process) -> None:
    """As in ``test_life``, here with the engine: in the queue, in the prompt, in the answer."""
    host, _, port = tiny_server.url.removeprefix("http://").partition(":")
    picture = {"type": "image_url", "image_url": {"url": data_url(png(40, 30))}}
    content = [picture, {"type": "text", "text": "Describe the image in detail."}]
    asked = {"model": "tiny", "messages": [{"role": "user", "content": content}], "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    for number in range(200):
        with socket.create_connection((host, int(port)), timeout=60) as sock:
            sock.sendall(head.encode() + body)
            if number % 50 == 0:  # its answer has begun
                assert sock.recv(20).startswith(b"HTTP/1.1 ")
    until(lambda: busy(tiny_server) == 0, 60)
    assert httpx2.post(f"{tiny_server.url}/v1/chat/completions", json=QUESTION, timeout=60).status_code == 200


@pytest.mark.slow
def test_ten_thousand_bad_requests(tiny_server: Process) -> None:
    found = check(tiny_server, (2000, 2000, 2000, 2000, 2000), 60)
    assert sum(found.values()) == 10_000


@pytest.mark.slow
def test_what_the_openapi_page_suggests(tmp_path: Path) -> None:
    schemathesis = pytest.importorskip(
        "schemathesis", reason="schemathesis is not installed: the extra clients"
    )
    from hypothesis import HealthCheck, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode

    # Some of what it makes is a good request, and asks for sixteen answers as long as they may be.
    with served(tmp_path, "tiny", "--quiet", "--max-new-tokens", "4") as process:
        schema = schemathesis.openapi.from_url(f"{process.url}/openapi.json")
        sent = 0
        for result in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                strategy = result.ok().as_strategy(generation_mode=mode)

                @settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
                @given(case=strategy)
                def ask(case: Any) -> None:
                    nonlocal sent
                    sent += 1
                    case.call_and_validate(checks=[not_a_server_error], timeout=120)

                with suppress(Unsatisfiable):  # a call without members has no wrong ones
                    ask()
        print(sent)
        assert sent > 1000
        until(lambda: busy(process) == 0)
        assert "ERROR" not in process.log.read_text()
