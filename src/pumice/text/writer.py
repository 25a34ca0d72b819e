"""Takes a rendering piece by piece and keeps ids, labels, positions and branches in step.

T = tokens of one sequence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pumice.text.encoder import Place, TextEncoder
from pumice.text.template import Template
from pumice.types import IGNORE_INDEX, Encoded, ImageSpan


class Writer:
    """Takes a rendering piece by piece. Neighbouring text is encoded as one, up to a cut."""

    def __init__(
        self, encoder: TextEncoder, template: Template, image_lengths: Sequence[int], image_token_id: int
    ) -> None:
        self.encoder = encoder
        self.template = template
        self._image_lengths = image_lengths
        self._image_token_id = image_token_id
        self._ids: list[int] = []
        self._labels: list[int] = []
        self._spans: list[ImageSpan] = []
        self._text = ""
        self._supervised = False
        self._place: Place = "start"
        self._swallows = False  # the last control token takes the blanks that follow it
        self._control = known_control(template, encoder)
        self._trunk_end: tuple[int, Place, bool] | None = None
        self._branch_starts: list[int] = []

    def text(self, text: str, *, supervised: bool = False) -> None:
        """Ordinary text; none of it can become a control token."""
        if self._swallows:
            text = text.lstrip()
        if not text:
            return
        self._swallows = False
        if supervised != self._supervised:
            self.cut()
            self._supervised = supervised
        self._text += text

    def words(self, words: str, *, supervised: bool = False) -> None:
        """A template's own words, in which its control tokens are tokens."""
        for piece, is_control in split_control(words, self._control):
            if is_control:
                self.control(self.encoder.control_id(piece), supervised=supervised)
            else:
                self.text(piece, supervised=supervised)

    def cut(self) -> None:
        """Tokens do not reach across this place."""
        if not self._text:
            return
        ids = self.encoder.encode(self._text, self._place)
        self._ids += ids
        self._labels += ids if self._supervised else [IGNORE_INDEX] * len(ids)
        self._text = ""
        self._place = "inside"

    def bos(self) -> None:
        """The tokenizer's BOS, where it has one."""
        if self.encoder.bos is None:
            return
        first = not self._ids and not self._text
        self.control(self.encoder.bos)
        if first and self.template.chunks:
            # LLaVA encodes BOS and the text after it in one call: a beginning, not a continuation.
            self._place, self._swallows = "start", False

    def control(self, id_: int, *, supervised: bool = False) -> None:
        """One control token, which takes the blanks beside it where the tokenizer says so."""
        before, after = self.encoder.takes_blanks(id_)
        if before:
            self._text = self._text.rstrip()
        self.cut()
        self._ids.append(id_)
        self._labels.append(id_ if supervised else IGNORE_INDEX)
        self._place, self._swallows = "control", after

    def image(self, index: int) -> None:
        """The tokens of one image."""
        self.cut()
        length = self._image_lengths[index]
        self._spans.append(ImageSpan(index, len(self._ids), length))
        self._ids += [self._image_token_id] * length
        self._labels += [IGNORE_INDEX] * length
        self._place = "start" if self.template.chunks else "control"
        self._swallows = False

    def branch(self) -> None:
        """Begin a branch; the first call ends the trunk."""
        self.cut()
        if self._trunk_end is None:
            self._trunk_end = len(self._ids), self._place, self._swallows
        _, self._place, self._swallows = self._trunk_end
        self._branch_starts.append(len(self._ids))

    def finish(self) -> Encoded:
        """Everything written, as arrays [T]."""
        self.cut()
        n = len(self._ids)
        positions_T = np.arange(n, dtype=np.int64)
        branches_T = np.zeros(n, dtype=np.int64)
        if self._trunk_end is not None:
            trunk = self._trunk_end[0]
            for number, start in enumerate(self._branch_starts, start=1):
                branches_T[start:] = number
                positions_T[start:] = np.arange(trunk, trunk + n - start)
        return Encoded(
            input_ids=np.array(self._ids, dtype=np.int64),
            labels=np.array(self._labels, dtype=np.int64),
            position_ids=positions_T,
            branch_ids=branches_T,
            image_spans=tuple(self._spans),
        )


def known_control(template: Template, encoder: TextEncoder) -> tuple[str, ...]:
    """The strings that a template writes as tokens of this tokenizer."""
    return (*template.control, *(token for token in template.optional_control if encoder.has_control(token)))


@lru_cache(maxsize=256)
def split_control(words: str, control: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """A template's words as (piece, whether it is a control token)."""
    if not words or not control:
        return ((words, False),) if words else ()
    pattern = "|".join(re.escape(token) for token in sorted(control, key=len, reverse=True))
    return tuple((piece, piece in control) for piece in re.split(f"({pattern})", words) if piece)
