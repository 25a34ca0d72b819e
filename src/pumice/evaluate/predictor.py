"""How a measurement sees a model: prompts in, answers out, and two ways to take the picture away.

A predictor may be our own engine, an OpenAI-compatible endpoint or a table in a test. The two
transformations work on prompts and not on models, so that every predictor is measured alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import PIL.Image

from pumice.errors import DataError
from pumice.image.decode import image_size

ImageSource = Path | PIL.Image.Image

MEAN_GREY = (122, 116, 104)
"""CLIP's mean colour in 8 bits, the grey LLaVA pads with: it normalises to about zero."""


@dataclass(frozen=True)
class Prompt:
    """One question to a model: its pictures stand before its text, in their order."""

    text: str
    images: tuple[ImageSource, ...] = ()


@runtime_checkable
class Predictor(Protocol):
    """Whatever answers prompts. ``predict`` gives one answer per prompt, in order."""

    @property
    def name(self) -> str: ...

    def predict(self, prompts: Sequence[Prompt]) -> list[str]: ...


def blind(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same questions with each picture replaced by plain ``MEAN_GREY`` of its size ("image removed").

    The number of image tokens and the words stay as they were, so what the model loses is only what
    is in the picture. Prompts share one grey picture per size.

    Raises:
        ImageError: a picture file cannot be opened.
    """
    greys: dict[tuple[int, int], PIL.Image.Image] = {}
    sizes: dict[Path, tuple[int, int]] = {}

    def grey(source: ImageSource) -> PIL.Image.Image:
        if isinstance(source, Path):
            if source not in sizes:
                sizes[source] = image_size(source)
            size = sizes[source]
        else:
            size = source.size
        if size not in greys:
            greys[size] = PIL.Image.new("RGB", size, MEAN_GREY)
        return greys[size]

    return [Prompt(prompt.text, tuple(grey(image) for image in prompt.images)) for prompt in prompts]


def wrong_image(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """The same questions, each asked of another question's picture.

    The distinct pictures are put in a random order and each is replaced by the next, the last by the
    first: one cycle, so no picture keeps its place, and all questions of one picture move together.
    It depends on the pictures and ``seed`` only, not on the order of the prompts. Pictures are told
    apart by path (by identity where they are in memory).

    Raises:
        DataError: there is one distinct picture only, so that none can stand for another.
    """
    distinct = _distinct(image for prompt in prompts for image in prompt.images)
    if not distinct:
        return list(prompts)
    if len(distinct) == 1:
        raise DataError(
            "the wrong-image measurement needs at least two different pictures and has one",
            remedy="add questions about other pictures, or leave this variant out",
        )
    order = np.random.default_rng(seed).permutation(len(distinct))
    keys = list(distinct)
    after = {keys[here]: distinct[keys[there]] for here, there in zip(order, np.roll(order, -1), strict=True)}
    return [Prompt(prompt.text, tuple(after[_key(image)] for image in prompt.images)) for prompt in prompts]


def _key(image: ImageSource) -> str:
    return f"path {image}" if isinstance(image, Path) else f"memory {id(image)}"


def _distinct(images: Iterable[ImageSource]) -> dict[str, ImageSource]:
    """Pictures by key; paths sorted, so that the order of the questions has no say, then those in memory."""
    seen: dict[str, ImageSource] = {}
    for image in images:
        seen.setdefault(_key(image), image)
    paths = {key: image for key, image in sorted(seen.items()) if isinstance(image, Path)}
    return paths | {key: image for key, image in seen.items() if key not in paths}
