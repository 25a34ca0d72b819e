"""A conversation at the terminal: a prompt with history, answers as they come, a few commands."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pumice.cli.console import answer_piece, hint, note, out, print_error
from pumice.cli.transcript import save, stats_line
from pumice.errors import PumiceError, UsageError, suggest
from pumice.image.decode import image_size
from pumice.image.video import video_info
from pumice.types import Video

if TYPE_CHECKING:
    from pumice.infer import ChatSession

NO_PICTURE = "No picture is given, so answers rest on words alone; {way} shows one."
FULL = 0.8
"""From this share of the context on, each answer is followed by how much is left."""
QUOTES = '"""'

COMMANDS = {
    "/image": "/image PATH  show a picture with the next question, in addition to those shown before",
    "/video": "/video PATH  show a video, a file or a folder of frames",
    "/retry": "/retry       ask the last question again; with a temperature, by another seed",
    "/undo": "/undo        take the last question and its answer back",
    "/save": "/save FILE   write the conversation with its settings: FILE.md to read, FILE.json for programs",
    "/stats": "/stats       what the last answer took, and how full the context is",
    "/reset": "/reset       forget all words and all pictures, those of --image too",
    "/help": "/help        list these",
    "/quit": "/quit        leave (or Ctrl-D)",
}
MORE_HELP = f"Several lines: end a line with \\, or write {QUOTES} before the first and behind the last."


class Conversation:
    """Reads lines, asks the model, writes answers, until /quit or the end of the input.

    Args:
        session: the chat that grows.
        read: gives the next line for a prompt, or raises EOFError.
        model: its name, for what is saved.
        stats: tell after each answer what it took.
    """

    def __init__(
        self,
        session: ChatSession,
        read: Callable[[str], str] = input,
        *,
        model: str = "a model",
        stats: bool = False,
    ) -> None:
        self.session, self.read, self.model, self.stats = session, read, model, stats
        self._blind = False  # since /reset, and nobody was told
        self._saved: set[Path] = set()

    def run(self) -> None:
        """Talk until the end."""
        with suppress(ImportError):  # absent on Windows; it gives arrows and history to input()
            importlib.import_module("readline")
        note("Ask away. /image PATH shows a picture, /help lists commands, Ctrl-D leaves.")
        while True:
            try:
                line = self._lines()
            except EOFError:
                out.print()
                return
            except KeyboardInterrupt:
                note("\nCtrl-D or /quit leaves.")
                continue
            if line == "/quit":
                return
            if not line:
                continue
            try:
                self.take(line)
            except PumiceError as error:
                print_error(error)

    def take(self, line: str) -> None:
        """Carry out a command, or ask.

        Raises:
            PumiceError: the line cannot be carried out; the conversation is as it was.
        """
        if not line.startswith("/"):
            self.ask(line)
            return
        command, _, rest = line.partition(" ")
        rest = rest.strip().strip("'\"")
        if command == "/image":
            self._image(rest)
        elif command == "/video":
            self._video(rest)
        elif command == "/retry":
            self._retry()
        elif command == "/undo":
            self._undo()
        elif command == "/save":
            self._save(rest)
        elif command == "/stats":
            self._stats()
        elif command == "/reset":
            self.session.reset()
            self._blind = True
            note("All words and pictures are forgotten; /image PATH shows one.")
        elif command == "/help":
            note("\n".join([*COMMANDS.values(), MORE_HELP]))
        else:
            raise UsageError(f"there is no command {command}", remedy=suggest(command, COMMANDS))

    def ask(self, question: str) -> None:
        """Stream the answer; Ctrl-C ends it, and what was said so far counts as said."""
        if self._blind:
            hint(NO_PICTURE.format(way="/image PATH"))
            self._blind = False
        with _ctrl_c() as pressed:
            try:
                for piece in self.session.ask(question, pressed):
                    answer_piece(piece)
            except PumiceError as error:
                if type(error).__name__ == "PromptTooLong":
                    error.remedy = "/undo takes the last turn back, /reset all: both make room"
                raise
        sys.stdout.write("\n")
        if pressed():
            note("(stopped)")
        tell_end(self.session, cut=True, stats=self.stats)

    def _lines(self) -> str:
        """The next question: one line, or several."""
        line = self.read("> ").strip()
        if line.startswith(QUOTES):
            lines = [line.removeprefix(QUOTES)]
            while not lines[-1].rstrip().endswith(QUOTES):
                lines.append(self.read(". "))
            lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
            return "\n".join(lines).strip()
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1].removesuffix("\\").rstrip()
            lines.append(self.read(". ").strip())
        return "\n".join(lines).strip()

    def _image(self, text: str) -> None:
        if not text:
            raise UsageError("no picture is named", remedy="write /image PATH")
        path = Path(text).expanduser()
        width, height = image_size(path)
        self.session.add_image(path)
        self._blind = False
        note(f"{path.name}, {width} x {height} pixels: ask about it.")

    def _video(self, text: str) -> None:
        if not text:
            raise UsageError("no video is named", remedy="write /video PATH")
        path = Path(text).expanduser()
        info = video_info(path)
        self.session.add_image(Video(path))
        self._blind = False
        note(f"{path.name}, {info.frames} frames: ask about it.")

    def _retry(self) -> None:
        turn = self.session.undo(again=True)
        if self.session.sampling.temperature == 0:
            hint("At temperature 0 an answer stays the same; pumice chat --temperature 0.7 gives others.")
        self.ask(turn.question)

    def _undo(self) -> None:
        turn = self.session.undo()
        count = len(turn.images)
        shown = f" What it showed ({count}) goes with the next question." if count else ""
        note(f"Taken back: {turn.question}{shown}")

    def _save(self, text: str) -> None:
        if not text:
            raise UsageError("no file is named", remedy="write /save FILE.md or /save FILE.json")
        path = Path(text).expanduser()
        if path.exists() and path not in self._saved:
            raise UsageError("there is such a file already", where=str(path), remedy="give another name")
        save(self.session, self.model, path)
        self._saved.add(path)
        note(f"Saved to {path}.")

    def _stats(self) -> None:
        if not self.session.turns:
            raise UsageError("nothing was said yet", remedy="ask something first")
        note(stats_line(self.session.turns[-1], drawn=self.session.sampling.temperature > 0))
        if self.session.context is not None:
            note(f"The conversation has {self.session.used} of the context's {self.session.context} tokens.")


def tell_end(session: ChatSession, *, cut: bool, stats: bool) -> None:
    """What there is to say behind an answer, on standard error: that room is short, and what it took.

    Args:
        session: the chat.
        cut: also tell that the answer reached its longest.
        stats: tell what it took.
    """
    turn, context, used = session.last, session.context, session.used
    if turn is None:
        return
    if context is not None and turn.ended.finish == "length" and used >= context:
        hint(f"The answer was cut: the context of {context} tokens is full. /undo or /reset makes room.")
    elif context is not None and used > FULL * context:
        hint(
            f"The conversation has {used} of the {context} tokens that the model can take; /reset makes room."
        )
    if cut and turn.ended.finish == "length" and (context is None or used < context):
        hint(f"The answer was cut at {session.max_new_tokens} tokens; --max-new-tokens allows more.")
    if stats and turn.ended.usage is not None:
        hint(stats_line(turn, drawn=session.sampling.temperature > 0))


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """While entered, the first Ctrl-C is noted and the second raises KeyboardInterrupt."""
    count = 0

    def handle(number: int, frame: object) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: count > 0
    finally:
        signal.signal(signal.SIGINT, before)
