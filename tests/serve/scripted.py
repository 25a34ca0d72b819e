"""A backend that says what a test tells it to, when it tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pumice.errors import PumiceError
from pumice.serve.backend import Ask, Done, Event, Full, Load, Piece, Reason, Stage, TokenScore, Usage

Script = Callable[[Ask, int], Sequence[str | TokenScore]]


def words_of(ask: Ask, index: int) -> Sequence[str]:
    """The usual answer: what was asked, pictures by their size, and its number if there are many."""
    if ask.prompt is not None:
        return ["more of ", ask.prompt]
    sizes = [f"[{image.width}x{image.height}]" for image in ask.images]
    return ["You said ", ask.messages[-1].text.strip(), *sizes, *([f" #{index}"] if ask.n > 1 else [])]


@dataclass
class Answering:
    """A request under way: ``go`` is set when it may answer, ``aborted`` when it was given up."""

    ask: Ask
    emit: Callable[[Event], None]
    go: threading.Event
    aborted: threading.Event = field(default_factory=threading.Event)

    def abort(self) -> None:
        self.aborted.set()
        self.go.set()


@dataclass
class Scripted:
    """A backend.

    Attributes:
        script: the pieces of an answer.
        reason: why answers end.
        hold: requests wait until ``release``.
        hold_after: pieces that are given before the waiting; None waits before the first.
        full: seconds for ``Retry-After``; None has room.
        error: raised by ``submit``.
        refused: what of a request turns out to be impossible, where ``reason`` is ``error``.
        asked: all requests so far.
    """

    script: Script = words_of
    reason: Reason = "stop"
    hold: bool = False
    hold_after: int | None = None
    full: float | None = None
    error: Exception | None = None
    refused: PumiceError | None = None
    asked: list[Answering] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def submit(self, ask: Ask, emit: Callable[[Event], None]) -> Answering:
        if self.error is not None:
            raise self.error
        if self.full is not None:
            raise Full(self.full)
        go = threading.Event()
        if not self.hold:
            go.set()
        answering = Answering(ask, emit, go)
        with self.changed:
            self.asked.append(answering)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.changed.notify_all()
        threading.Thread(target=self._answer, args=(answering,), daemon=True).start()
        return answering

    def load(self) -> Load:
        return Load(self.open, 0)

    def close(self) -> None:
        self.closed = True
        for answering in self.asked:
            answering.abort()

    def release(self) -> None:
        """Let all requests answer, those to come too."""
        self.hold = False
        for answering in self.asked:
            answering.go.set()

    def wait_for(self, true: Callable[[], bool], seconds: float = 20) -> bool:
        """Wait until something about the requests holds."""
        with self.changed:
            return self.changed.wait_for(true, seconds)

    def _answer(self, answering: Answering) -> None:
        before = self.hold_after
        if answering.ask.watch and answering.ask.images:
            answering.emit(Stage(0, "pictures"))
        if before is None:
            answering.go.wait()
        if answering.ask.watch:
            answering.emit(Stage(0, "prompt"))
        for index in range(answering.ask.n):
            made = 0
            reason: Reason = self.reason
            for number, piece in enumerate(self.script(answering.ask, index)):
                if before is not None and number == before:
                    answering.go.wait()
                if answering.aborted.is_set():
                    reason = "abort"
                    break
                made += 1
                scores = (piece,) if isinstance(piece, TokenScore) else ()
                answering.emit(Piece(index, piece.token if scores else str(piece), scores))
            answering.emit(
                Done(
                    index,
                    reason,
                    Usage(100 + len(answering.ask.images), made, 7, 0.1, 0.2, 0.3),
                    self.refused,
                )
            )
        with self.changed:
            self.open -= 1
            self.changed.notify_all()
