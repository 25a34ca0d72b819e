"""From a request to what the engine computes: token ids, the tower's inputs, and keys for the caches.

This runs in the thread that submits, so that decoding and cutting pictures holds no answer up.

Legend: T tokens, N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumice.image.layout import ImageLayout
from pumice.infer.engine.requests import EngineRequest
from pumice.infer.pictures import PictureEncoder, Shown
from pumice.text.encoder import Place, text_encoder
from pumice.text.render import render
from pumice.text.template import Template
from pumice.types import IntArray

_NUMBERS = 1 << 16
"""Digests of pictures that have a number; of older ones no keys can be found any more."""
_WIDEST = 1 << 24
"""More tokens than one picture has."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture or video of a prompt.

    Attributes:
        start, length: its tokens in the prompt.
        layout: how its tiles become tokens.
        tiles: the tower's inputs, float32 [N, C, H, W].
        digest: of the tiles and the layout: of the content, and of all that was done to it.
    """

    start: int
    length: int
    layout: ImageLayout
    tiles: NDArray[np.float32]
    digest: bytes


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that is ready to be computed.

    Attributes:
        ids: int64 [T].
        keys: int64 [T], equal where places hold the same: the token, or the same place of a picture that
            the model sees the same of.
        pictures: in the order of their places.
    """

    ids: IntArray
    keys: IntArray
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Rendered:
    """A request whose text is ready and whose pictures are not opened yet.

    Attributes:
        request: what was asked.
        ids: int64 [T].
        spans: (image, start, length) of each place of a picture.
        shown: the pictures, laid out.
        limit: the most tokens that are generated.
    """

    request: EngineRequest
    ids: IntArray
    spans: Sequence[tuple[int, int, int]]
    shown: Sequence[Shown]
    limit: int


class Opened:
    """The tower's inputs of pictures, for requests of one job that show the same ones.

    Pictures are told apart by file or object: the job keeps its objects alive and its files as they are.

    Args:
        budget: bytes; the ones used longest ago go first.
    """

    def __init__(self, budget: int = 1 << 26) -> None:
        self._budget = budget
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[NDArray[np.float32], bytes]] = OrderedDict()

    def get(self, one: Shown, pictures: PictureEncoder) -> tuple[NDArray[np.float32], bytes]:
        """The tower's inputs [N, C, H, W] of a picture, and their digest."""
        found = self._kept.get(one.key)
        if found is None:
            tiles = pictures.tiles(one)
            found = self._kept[one.key] = tiles, _digest(tiles, one.layout)
            self._bytes += tiles.nbytes
            while self._bytes > self._budget and len(self._kept) > 1:
                _, (old, _) = self._kept.popitem(last=False)
                self._bytes -= old.nbytes
        self._kept.move_to_end(one.key)
        return found


class Prompts:
    """Makes prompts for one model.

    Args:
        pictures: the model's way with pictures.
        tokenizer: the model's.
        template: what messages are rendered by.
    """

    def __init__(self, pictures: PictureEncoder, tokenizer: Any, template: Template) -> None:
        self.pictures = pictures
        self._tokenizer = tokenizer
        self._template = template
        self._image_id = pictures.model.config.image_token_id
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()

    def ids(self, request: EngineRequest) -> tuple[IntArray, list[tuple[int, int, int]], Sequence[Shown]]:
        """The ids of a request, (image, start, length) of its pictures, and these laid out; decodes none.

        Raises:
            DataError, TemplateError: a conversation that cannot be rendered, or a video that the model does
                not know how to see.
            ImageError: a file that cannot be used.
        """
        shown = self.pictures.lay_out(request.images)
        lengths = [self.pictures.tokens(one) for one in shown]
        if request.prompt is not None:
            ids, spans = self._plain(request.prompt, lengths)
            return ids, spans, shown
        encoded = render(
            request.messages,
            self._tokenizer,
            self._template,
            image_lengths=lengths,
            image_token_id=self._image_id,
            generation_prompt=True,
        )
        spans = [(span.image, span.start, span.length) for span in encoded.image_spans]
        return encoded.input_ids, spans, shown

    def prompt(self, rendered: Rendered, opened: Opened | None = None) -> Prompt:
        """The whole prompt: pictures that are not among the opened ones are opened here.

        Raises:
            ImageError: a file that cannot be decoded.
        """
        keys, shown = rendered.ids.copy(), rendered.shown
        opened = Opened() if opened is None else opened
        seen = [opened.get(one, self.pictures) for one in shown]
        pictures = []
        for image, start, length in rendered.spans:
            tiles, digest = seen[image]
            first = -1 - self._number(digest) * _WIDEST
            keys[start : start + length] = first - np.arange(length)
            pictures.append(Picture(start, length, shown[image].layout, tiles, digest))
        return Prompt(rendered.ids, keys, tuple(pictures))

    def _plain(self, text: str, lengths: Sequence[int]) -> tuple[IntArray, list[tuple[int, int, int]]]:
        """Pictures, then text as it stands; the tokenizer's BOS before both where it writes one."""
        encoder = text_encoder(self._tokenizer, self._image_id)
        ids = [encoder.bos] if encoder.adds_bos and encoder.bos is not None else []
        spans = []
        for image, length in enumerate(lengths):
            spans.append((image, len(ids), length))
            ids += [self._image_id] * length
        place: Place = "start" if lengths or not ids else "control"
        ids += encoder.encode(text, place)
        return np.array(ids, dtype=np.int64), spans

    def _number(self, digest: bytes) -> int:
        """A number that no other digest of this engine ever has."""
        with self._lock:
            if digest not in self._numbers:
                self._numbers[digest] = self._next
                self._next += 1
                if len(self._numbers) > _NUMBERS:
                    self._numbers.popitem(last=False)
            self._numbers.move_to_end(digest)
            return self._numbers[digest]


def _digest(tiles: NDArray[np.float32], layout: ImageLayout) -> bytes:
    found = hashlib.sha256(repr((tiles.shape, layout)).encode())
    found.update(np.ascontiguousarray(tiles).data)
    return found.digest()
