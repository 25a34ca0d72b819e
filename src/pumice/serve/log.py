"""The request log: one JSON object a line, who asked what route and what it took; no content by default."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pumice.serve.backend import Ask
from pumice.types import Text


class RequestLog:
    """Writes a line for each call.

    Args:
        path: the file to append to; None is standard error.
        content: write what was asked and answered, too. Pictures are told by their size, never by bytes.
    """

    def __init__(self, path: Path | None = None, *, content: bool = False, quiet: bool = False) -> None:
        self.content = content
        self._quiet = quiet
        self._lock = threading.Lock()
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8")

    def write(self, entry: Mapping[str, Any]) -> None:
        """One line; the time stands first."""
        if self._quiet and self._file is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": stamp, **entry})  # ASCII alone: nothing in it steers a terminal
        with self._lock:
            print(line, file=self._file or sys.stderr, flush=True)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()


def content_of(ask: Ask) -> dict[str, Any]:
    """What an ask says, with pictures told by their size."""
    if ask.prompt is not None:
        return {"prompt": ask.prompt}
    turns = []
    for message in ask.messages:
        words = [
            part.text if isinstance(part, Text) else "[picture {} x {}]".format(*ask.images[part.index].size)
            for part in message.parts
        ]
        turns.append({"role": message.role, "content": "".join(words)})
    return {"messages": turns}
