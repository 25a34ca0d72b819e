"""`pumice serve` as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Process:
    """A server that is ready.

    Attributes:
        url: its address, without a path.
        process: its process.
        seconds: from the command to ``ready``.
        log: what it writes to standard error.
    """

    url: str
    process: subprocess.Popen[str]
    seconds: float
    log: Path


@contextmanager
def served(folder: Path, *words: str, **environment: str) -> Iterator[Process]:
    """Run ``pumice serve`` with some words at a free port, until it is ready; it is killed at the end."""
    log = folder / "stderr"
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), **environment}
    started = time.monotonic()
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "pumice", "serve", *words, "--port", "0"],
            stdout=subprocess.PIPE, stderr=stream, text=True, env=env, cwd=folder,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            found = re.search(r"http://[^/\s]+", first)
            assert found is not None, first + log.read_text()
            assert process.stdout.readline().startswith("ready"), log.read_text()
            yield Process(
                found[0].replace("localhost", "127.0.0.1"), process, time.monotonic() - started, log
            )
        finally:
            process.kill()
            process.wait(20)
