"""A server under mixed load whose clients are killed: what is lost, what is left, what memory it takes.

    python benchmarks/serve_load.py                          # five minutes with the shipped model
    python benchmarks/serve_load.py --seconds 60 --clients 8 --model runs/mine
    python benchmarks/serve_load.py -- --picture-cache 8     # behind --, options of pumice serve

Clients ask with words and with pictures, whole and as streams; some drop a stream after its first bytes,
some send a request and vanish, some send what is no request. They live in processes that are killed
(SIGKILL) and started anew, and once a minute 200 clients come and vanish at once. Reported are the calls by
status, the memory minute by minute, and what runs when all clients are gone: nothing may. At the end the
server must answer as it did before, and end at SIGTERM with code 0.

Exit code 1: an answer of 500 or above, something that still runs, another answer than before, or another
end.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

KINDS = {"text": 30, "picture": 25, "stream": 15, "dropped": 10, "vanished": 10, "bad": 10}
"""What clients do, and how often out of a hundred times."""
BUSY = ("requests_running", "requests_waiting", "requests_open", "tokens_held")
"""Gauges that are 0 when nobody asks."""
PROCESSES = 3
BURST = 200
TICK = 1.0
QUESTION = "What color is the star?"
BAD = (
    b"", b"{", b"[]", b"[" * 5000, b'{"model": "MODEL"}', b'{"model": "none", "messages": []}',
    b'{"model": "MODEL", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
    b'{"model": "MODEL", "messages": [{"role": "user", "content": "a"}], "temperature": -1}',
)  # fmt: skip


def picture(draw: random.Random) -> str:
    """The data: address of a picture that nobody has shown before."""
    import PIL.Image

    image = PIL.Image.frombytes("RGB", (8, 6), draw.randbytes(144))
    stream = io.BytesIO()
    image.resize((draw.randint(20, 500), draw.randint(20, 500))).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def body_of(kind: str, model: str, draw: random.Random) -> bytes:
    """A request of one kind."""
    if kind == "bad":
        return draw.choice(BAD).replace(b"MODEL", model.encode())
    content: Any = f"{QUESTION} {draw.randint(0, 9999)} " + "Look again. " * draw.randint(0, 20)
    if kind != "text" and (kind == "picture" or draw.random() < 0.5):
        content = [{"type": "image_url", "image_url": picture(draw)}, {"type": "text", "text": content}]
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": draw.randint(1, 60),
        "temperature": draw.choice([0, 1]),
        "stream": kind in ("stream", "dropped"),
    }
    return json.dumps(asked).encode()


def post(address: tuple[str, int], body: bytes, *, read: int | None) -> None:
    """Send one request and read so many bytes of its answer; None is all of it, and 0 vanishes at once.

    What is not read to its end is dropped as a killed process drops it: with a reset.
    """
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(address, timeout=120) as sock:
        if read is None:
            sock.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            while sock.recv(1 << 16):
                pass
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(head.encode() + b"\r\n" + body)
        if read:
            sock.recv(read)


def work(address: tuple[str, int], model: str, threads: int, seed: int) -> None:
    """Ask until the process is killed."""

    def one(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        while True:
            kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
            read = {"dropped": 300, "vanished": 0}.get(kind)
            try:
                post(address, body_of(kind, model, draw), read=read)
            except OSError:
                time.sleep(0.1)  # the server has closed the connection, or is gone

    for number in range(threads):
        threading.Thread(target=one, args=(number,), daemon=True).start()
    signal.pause()


def burst(address: tuple[str, int], model: str, draw: random.Random) -> None:
    """Clients that come and vanish at once."""
    bodies = [body_of("vanished", model, draw) for _ in range(8)]
    for number in range(BURST):
        post(address, bodies[number % len(bodies)], read=0)


class Watched:
    """A server's process, and what it says of itself."""

    def __init__(self, model: str, more: list[str], folder: Path) -> None:
        words = ["serve", f"load={model}", "--port", "0", "--log", str(folder / "log"), *more]
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pumice", *words], stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline() + self.process.stdout.readline()
        found = re.search(r"http://[^/\s]*?:(\d+)", said)
        if found is None or "ready" not in said:
            self.errors.seek(0)
            sys.exit(said + self.errors.read())
        self.address = "127.0.0.1", int(found[1])

    def get(self, path: str, body: bytes | None = None) -> str:
        """The text at an address."""
        connection = http.client.HTTPConnection(*self.address, timeout=120)
        connection.request("GET" if body is None else "POST", path, body)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def metrics(self) -> dict[str, float]:
        """All numbers of ``/metrics`` by name and labels."""
        lines = [line for line in self.get("/metrics").splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def busy(self) -> float:
        """Calls that are open (but for the one that asks), answers that run or wait, places they hold."""
        names = tuple(f"pumice_{name}" for name in BUSY)
        return sum(value for name, value in self.metrics().items() if name.startswith(names)) - 1

    def resident(self) -> int:
        """Its memory, in bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(r"VmRSS:\s+(\d+)", text)
        return 0 if found is None else int(found[1]) << 10

    def answer(self) -> str:
        """What it says to one question, greedily."""
        asked = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 20}
        reply = json.loads(self.get("/v1/chat/completions", json.dumps(asked).encode()))
        return str(reply["choices"][0]["message"]["content"])


def statuses(numbers: dict[str, float]) -> dict[str, int]:
    """Calls of chat by status; 499 is a client that left before its answer began."""
    found: Counter[str] = Counter()
    for name, value in numbers.items():
        if label := re.fullmatch(r'pumice_requests_total\{route="/v1/chat.*status="(\d+)"\}', name):
            found[label[1]] += int(value)
    return dict(sorted(found.items()))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load a server, and report."""
    server = Watched(options.model, options.more, folder)
    before = server.answer()
    draw = random.Random(options.seed)
    started, seeds = time.monotonic(), iter(range(10**6))
    next_kill, next_burst, kills, bursts = options.kill_seconds, min(30.0, options.seconds / 2), 0, 0
    memory: list[tuple[float, int]] = []
    threads = max(1, options.clients // PROCESSES)

    def spawn() -> subprocess.Popen[bytes]:
        given = {"address": server.address, "model": "load", "threads": threads, "seed": next(seeds)}
        return subprocess.Popen([sys.executable, __file__, "--work", json.dumps(given)])

    workers = [spawn() for _ in range(PROCESSES)]
    try:
        while (seconds := time.monotonic() - started) < options.seconds:
            memory.append((seconds, server.resident()))
            if seconds >= next_kill:
                victim = workers.pop(draw.randrange(len(workers)))
                victim.kill()
                victim.wait()
                workers.append(spawn())
                kills, next_kill = kills + 1, next_kill + options.kill_seconds
            if seconds >= next_burst:
                burst(server.address, "load", draw)
                bursts, next_burst = bursts + 1, next_burst + 60
            time.sleep(TICK)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    gone = time.monotonic()
    while (busy := server.busy()) and time.monotonic() - gone < 60:
        time.sleep(0.05)
    quiet = time.monotonic() - gone
    numbers, after = server.metrics(), server.answer()
    memory.append((time.monotonic() - started, server.resident()))
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(60)
    server.errors.seek(0)
    every = max(1, round(options.seconds / 20))
    calls = statuses(numbers)
    return {
        "seconds": options.seconds,
        "clients": threads * PROCESSES,
        "processes_killed": kills,
        "clients_vanished_in_bursts": bursts * BURST,
        "calls": calls,
        "calls_per_second": round(sum(calls.values()) / options.seconds, 1),
        "answers_aborted": int(numbers.get('pumice_aborted_total{model="load"}', 0)),
        "busy_at_end": busy,
        "seconds_until_quiet": round(quiet, 2),
        "same_answer_after": before == after,
        "exit_code": code,
        "log_of_errors": server.errors.read()[-2000:],
        "picture_cache_mb": round(numbers.get('pumice_picture_cache_bytes{model="load"}', 0) / 1e6, 1),
        "memory_mb": {f"{s:.0f} s": round(b / 1e6) for s, b in memory[::every]} | {
            "end": round(memory[-1][1] / 1e6)
        },
    }  # fmt: skip


def main() -> None:
    """Run, print the report as JSON, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--kill-seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("more", nargs="*", help="options of pumice serve, behind --")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        given = json.loads(options.work)
        work(tuple(given.pop("address")), **given)
    with tempfile.TemporaryDirectory() as folder:
        report = run(options, Path(folder))
    print(json.dumps(report, indent=1))
    failed = [status for status in report["calls"] if status >= "500"]
    bad = failed or report["busy_at_end"] or not report["same_answer_after"] or report["exit_code"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    os.environ.pop("PUMICE_API_KEY", None)
    main()
