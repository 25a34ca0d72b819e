"""Sides of a benchmark that stay: processes that load a model once, then measure whenever they are told.

A side reads lines of JSON from its standard input and answers each with one line. So sides take turns round
after round without loading anew, and a machine that is busy for a while is so for all of them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pumice.errors import RunError

Ask = dict[str, Any]
Answer = dict[str, Any]


class Side:
    """A process that measures one side.

    Args:
        title: what it is called in errors.
        module: what is run, by its dotted name; it calls ``answer_lines``. The process begins at once, with
            its imports.
        spec: what it is; given to it as its first line when it is opened.
        words: that stand behind the module on its command line.
        variables: its environment; this process's own by default.
    """

    def __init__(
        self,
        title: str,
        module: str,
        spec: Ask,
        *words: str,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.title = title
        # Of a pipe that nobody reads, a side that says much would wait for ever.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=variables,
        )
        self._spec = spec

    def open(self) -> None:
        """Give the process its spec, and wait until it is ready.

        Raises:
            RunError: as ``ask``.
        """
        self.ask(self._spec)

    def __enter__(self) -> Side:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, what: Ask) -> Answer:
        """The answer to one line.

        Raises:
            RunError: the process died; its last words are in the error.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            process.communicate()
            raise RunError(
                f"{self.title} failed: {self._last_words() or f'exit {process.returncode}'}",
                where=self.title,
                remedy="leave it out with --side, or run it alone",
            )
        found: Answer = json.loads(line)
        return found

    def close(self) -> None:
        """End the process: it has read all."""
        if self._process.poll() is None:
            self._process.communicate()
        self._said.close()

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").strip()[-600:]


def answer_lines(open_side: Callable[[Ask], Callable[[Ask], Answer]]) -> None:
    """What a side's process runs: the first line opens it, each other one is a measurement.

    Args:
        open_side: from the spec to what measures. What is printed meanwhile goes to standard error, where it
            does not stand between the answers.
    """
    answers: TextIO = sys.stdout
    sys.stdout = sys.stderr
    measure: Callable[[Ask], Answer] | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if measure is None:
            measure, found = open_side(asked), {}
        else:
            found = measure(asked)
        answers.write(json.dumps({"peak_bytes": own_peak(), **found}) + "\n")
        answers.flush()


def own_peak() -> int:
    """The most memory, in bytes, that this process held. What the system keeps for its whole life
    (``ru_maxrss``) begins with what the process held that started it."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
