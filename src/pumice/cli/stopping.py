"""Ctrl-C: the first asks a run to save and stop after the step, the second stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from rich.text import Text

from pumice.cli.console import err, out


class Stopping:
    """While it is entered, SIGINT and SIGTERM set a flag that ``asked`` reads.

    Where there is nothing to save (``wait_for_step`` is false), and at the second signal, a
    KeyboardInterrupt is raised as usual.
    """

    def __init__(self) -> None:
        self.wait_for_step = False
        self._asked = False
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked

    def asked_at_step(self) -> bool:
        """The same, before a step: from now on a signal waits for its end, on ranks that draw nothing too."""
        self.wait_for_step = True
        return self._asked

    def __enter__(self) -> Stopping:
        # Only the main thread may set handlers; elsewhere a run simply cannot be stopped by a signal.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked or not self.wait_for_step:
            raise KeyboardInterrupt
        self._asked = True
        if not out.quiet:  # of several ranks the first one tells
            err.print(Text("\nStopping after this step; once more stops at once.", "yellow"))
