"""Replies of judges by what they were asked: written as they come, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pumice.data.lines import to_line
from pumice.errors import DataError, RunError
from pumice.evaluate.endpoint import Endpoint
from pumice.evaluate.reply import Reply
from pumice.evaluate.request import Request
from pumice.files import lock


def key_of(endpoint: Endpoint, request: Request, run: int) -> str:
    """The name of a reply: what decides it, and the number of the run, in a SHA-256.

    The server's address is part of it, for two may call two models alike, behind one host, too (a gateway
    tells them apart by the path); the key to it is not.
    """
    parts = {
        "address": endpoint.address.call(""),
        "body": request.body(endpoint.model),
        "run": run,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """A JSONL file of replies. A row that a kill cut off is dropped.

    Args:
        path: the file; it is made when the first reply comes.

    Raises:
        DataError: a whole row of it is damaged; its line is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Reply] = {}
        self._file: IO[bytes] | None = None
        self._end = self._rows = 0
        if path.is_file():
            self._read()

    def get(self, key: str) -> Reply | None:
        """The reply of that name, if there is one."""
        return self._found.get(key)

    def claim(self) -> IO[bytes]:
        """Take the file for this process alone, with what others have written since it was read.

        Raises:
            RunError: another process holds it.
        """
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab")
            try:
                if lock(file) is False:
                    raise RunError(
                        "another process is having answers judged with these replies",
                        where=str(self.path),
                        remedy="wait for it, or name another file with --cache",
                    )
                self._read()
            except BaseException:
                file.close()
                raise
            file.truncate(self._end)
            self._file = file
        return self._file

    def put(self, key: str, reply: Reply, **notes: Any) -> None:
        """Add a reply; it is in the file when this returns.

        Args:
            key: its name.
            reply: what came.
            notes: what people who read the file may want to know of it.
        """
        file = self.claim()
        row = notes | {
            "key": key,
            "model": reply.model,
            "finish_reason": reply.finish_reason,
            "usage": dict(reply.usage),
            "text": reply.text,
        }
        file.write(to_line(row).encode() + b"\n")
        file.flush()
        self._found[key] = reply

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        """The rows behind those that were read before."""
        with self.path.open("rb") as file:
            file.seek(self._end)
            for number, line in enumerate(file, self._rows + 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    self._found[row["key"]] = Reply(
                        row["text"], row["finish_reason"], row["usage"], row["model"]
                    )
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise DataError(
                        f"a reply of the judge is damaged ({type(error).__name__}: {error})",
                        where=f"{self.path}, line {number}",
                        remedy="take the line out: what it held is asked again",
                    ) from error
                self._end += len(line)
                self._rows = number
