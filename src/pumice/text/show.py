"""A rendering in pieces that people can read: text, control tokens and images, with what is supervised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pumice.text.encoder import is_blank
from pumice.types import IGNORE_INDEX, Encoded, ImageSpan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["text", "control", "image"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one kind.

    Attributes:
        kind: ordinary text, one control token, or the tokens of an image.
        text: the words; of a control token its name; of an image nothing.
        start: the first token's place in the sequence.
        tokens: how many there are.
        supervised: whether they carry a loss.
        branch: the branch they are on, 0 for the trunk.
        image: which image of the sample, counted from 0; None for words.
    """

    kind: Kind
    text: str
    start: int
    tokens: int
    supervised: bool
    branch: int = 0
    image: int | None = None


def pieces_of(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """The rendering from its first token to its last, in pieces."""
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    control = {number: name for number, name in added.items() if not is_blank(name)}
    ids = encoded.input_ids
    found: list[Piece] = []
    for start, stop, span in _stretches(encoded, set(control)):
        kind: Kind = "text"
        first, image, text = int(ids[start]), None, ""
        if span is not None:
            kind, image = "image", span.image
        elif first in control:
            kind, text = "control", control[first]
        else:
            own = ids[start:stop].tolist()
            text = str(tokenizer.decode(own, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        lit, branch = bool(encoded.labels[start] != IGNORE_INDEX), int(encoded.branch_ids[start])
        found.append(Piece(kind, text, start, stop - start, lit, branch, image))
    return found


def tokens_of(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, int, str, bool]]:
    """Place, id, the token as the vocabulary has it, whether it is supervised; without images' tokens."""
    inside = np.zeros(len(encoded), np.bool_)
    for span in encoded.image_spans:
        inside[span.start : span.start + span.length] = True
    places = np.flatnonzero(~inside).tolist()
    names = tokenizer.convert_ids_to_tokens(encoded.input_ids[places].tolist())
    return [
        (place, int(encoded.input_ids[place]), str(name), bool(encoded.labels[place] != IGNORE_INDEX))
        for place, name in zip(places, names, strict=True)
    ]


def _stretches(encoded: Encoded, control: set[int]) -> Iterator[tuple[int, int, ImageSpan | None]]:
    """Places from and to, of tokens that make one piece."""
    spans = {span.start: span for span in encoded.image_spans}
    lit = encoded.labels != IGNORE_INDEX
    start, total = 0, len(encoded)
    while start < total:
        span = spans.get(start)
        if span is not None:
            yield start, start + span.length, span
            start += span.length
            continue
        stop = start + 1
        if int(encoded.input_ids[start]) not in control:
            while (
                stop < total
                and stop not in spans
                and int(encoded.input_ids[stop]) not in control
                and lit[stop] == lit[start]
                and encoded.branch_ids[stop] == encoded.branch_ids[start]
            ):
                stop += 1
        yield start, stop, None
        start = stop
