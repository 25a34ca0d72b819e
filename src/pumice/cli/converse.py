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
from pumice.errors import PumiceError, UsageError, suggest
from pumice.image.decode import image_size
from pumice.image.video import video_info
from pumice.types import Video

if TYPE_CHECKING:
    from pumice.infer import ChatSession

NO_PICTURE = "No picture is given, so answers rest on words alone; {way} shows one."

COMMANDS = {
    "/image": "/image PATH  show a picture with the next question, in addition to those shown before",
    "/video": "/video PATH  show a video, a file or a folder of frames",
    "/reset": "/reset       forget all words and all pictures, those of --image too",
    "/help": "/help        list these",
    "/quit": "/quit        leave (or Ctrl-D)",
}


class Conversation:
    """Reads lines, asks the model, writes answers, until /quit or the end of the input.

    Args:
        session: the chat that grows.
        read: gives the next line for a prompt, or raises EOFError.
    """

    def __init__(self, session: ChatSession, read: Callable[[str], str] = input) -> None:
        self.session, self.read = session, read
        self._blind = False  # since /reset, and nobody was told

    def run(self) -> None:
        """Talk until the end."""
        with suppress(ImportError):  # absent on Windows; it gives arrows and history to input()
            importlib.import_module("readline")
        note("Ask away. /image PATH shows a picture, /help lists commands, Ctrl-D leaves.")
        while True:
            try:
                line = self.read("> ").strip()
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
        if command == "/image":
            self._image(rest.strip().strip("'\""))
        elif command == "/video":
            self._video(rest.strip().strip("'\""))
        elif command == "/reset":
            self.session.reset()
            self._blind = True
            note("All words and pictures are forgotten; /image PATH shows one.")
        elif command == "/help":
            note("\n".join(COMMANDS.values()))
        else:
            raise UsageError(f"there is no command {command}", remedy=suggest(command, COMMANDS))

    def ask(self, question: str) -> None:
        """Stream the answer; Ctrl-C ends it, and what was said so far counts as said."""
        if self._blind:
            hint(NO_PICTURE.format(way="/image PATH"))
            self._blind = False
        answer = self.session.ask(question)
        with _ctrl_c() as pressed:
            try:
                for piece in answer:
                    answer_piece(piece)
                    if pressed():
                        break
            finally:
                close = getattr(answer, "close", None)
                if close is not None:
                    close()
        sys.stdout.write("\n")
        if pressed():
            note("(stopped)")

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
