"""Replies by what was asked: written as they come, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pumice.data.lines import to_line
from pumice.endpoint.client import Endpoint
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request
from pumice.errors import DataError, RunError
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

    Memory holds where each reply stands and not its words, so that millions of them are no burden.

    Args:
        path: the file; it is made when the first reply comes.
        what: what another process does that holds it, for its error.
        remedy: what to do then.
        known: another such file, in which replies are looked for that this one lacks.

    Attributes:
        tokens: by name, of all replies in the file.

    Raises:
        DataError: a whole row of it is damaged; its line is named.
    """

    def __init__(
        self,
        path: Path,
        *,
        what: str = "having answers judged",
        remedy: str = "wait for it, or name another file with --cache",
        known: Path | None = None,
    ) -> None:
        self.path = path
        self.tokens: Counter[str] = Counter()
        self._what, self._remedy = what, remedy
        self._known = None if known is None else Cache(known)
        self._found: dict[bytes, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None
        self._reader: IO[bytes] | None = None
        self._end = self._rows = 0
        if path.is_file():
            self._read()

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._found or (self._known is not None and key in self._known)

    def get(self, key: str) -> Reply | None:
        """The reply of that name, if there is one."""
        place = self._found.get(key.encode())
        if place is None:
            return None if self._known is None else self._known.get(key)
        return _reply(json.loads(self._line(*place)))

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
                        f"another process is {self._what} with these replies",
                        where=str(self.path),
                        remedy=self._remedy,
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
        line = to_line(row).encode() + b"\n"
        file.write(line)
        file.flush()
        self._add(key, len(line), reply)

    def add_all(self, other: Cache) -> None:
        """Add the replies of another file that this one lacks."""
        file = self.claim()
        for key, (start, length) in other._found.items():
            if key not in self._found:
                with_it = other._line(start, length)
                file.write(with_it)
                self._add(key.decode(), length, _reply(json.loads(with_it)))
        file.flush()
        os.fsync(file.fileno())

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._reader):
            if file is not None:
                file.close()
        self._file = self._reader = None
        if self._known is not None:
            self._known.__exit__(kind, value, trace)

    def _line(self, start: int, length: int) -> bytes:
        if self._reader is None:
            self._reader = self.path.open("rb")
        self._reader.seek(start)
        return self._reader.read(length)

    def _add(self, key: str, length: int, reply: Reply) -> None:
        self._found[key.encode()] = self._end, length
        self._end += length
        self._rows += 1
        self.tokens.update(reply.usage)

    def _read(self) -> None:
        """The rows behind those that were read before."""
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    self._add(row["key"], len(line), _reply(row))
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise DataError(
                        f"a reply is damaged ({type(error).__name__}: {error})",
                        where=f"{self.path}, line {self._rows + 1}",
                        remedy="take the line out: what it held is asked again",
                    ) from error


def _reply(row: dict[str, Any]) -> Reply:
    return Reply(row["text"], row["finish_reason"], row["usage"], row["model"])
