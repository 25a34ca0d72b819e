"""From generated ids to text: piece by piece, whole characters only, ending before a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pumice.text.template import Template

_BROKEN = "\ufffd"
"""What decoding gives for the first bytes of a character whose others are still to come."""


class TextStream:
    """Turns one request's ids into text as they come.

    Args:
        tokenizer: special tokens give no text.
        stops: strings that end the text; neither they nor what follows is given out.
        lead: spaces that begin an answer by the template and do not belong to it.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], lead: str) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._lead = lead
        self._ids: list[int] = []
        self._from, self._read = 0, 0  # decoding starts at _from; the text of ids before _read is known
        self._text = ""
        self._given = 0
        self.stopped = False

    @property
    def text(self) -> str:
        """All text so far, without what is held back."""
        return self._text

    def push(self, token_id: int) -> str:
        """The text that one more id makes certain ("" while a character or a stop string is open)."""
        self._ids.append(token_id)
        # Decoding a window that begins with known ids keeps the spaces between tokens right, at a
        # cost that does not grow with the text.
        known = self._decode(self._from, self._read)
        now = self._decode(self._from, len(self._ids))
        if now.endswith(_BROKEN):
            return ""
        self._add(now[len(known) :])
        self._from, self._read = self._read, len(self._ids)
        return self._give(final=False)

    def finish(self) -> str:
        """What was held back, once no id follows."""
        if not self.stopped and self._read < len(self._ids):
            known = self._decode(self._from, self._read)
            self._add(self._decode(self._from, len(self._ids))[len(known) :])
            self._read = len(self._ids)
        return self._give(final=True)

    def _decode(self, start: int, stop: int) -> str:
        ids = self._ids[start:stop]
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _add(self, piece: str) -> None:
        if not self._text:
            piece = piece.removeprefix(self._lead)
        if self.stopped:
            return
        self._text += piece
        longest = max((len(stop) for stop in self._stops), default=0)
        start = max(0, len(self._text) - len(piece) - longest)
        places = [at for at in (self._text.find(stop, start) for stop in self._stops) if at >= 0]
        if places:
            self._text = self._text[: min(places)]
            self.stopped = True

    def _give(self, *, final: bool) -> str:
        end = len(self._text)
        if not (final or self.stopped):
            end -= _open_stop(self._text, self._stops)
        piece = self._text[self._given : end]
        self._given = max(self._given, end)
        return piece


def _open_stop(text: str, stops: Sequence[str]) -> int:
    """The length of the longest ending of ``text`` that may become a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest


def answer_lead(template: Template) -> str:
    """The spaces between a prompt by the template and its answer."""
    prefix = template.prompt_prefix
    return prefix[len(prefix.rstrip(" ")) :]
