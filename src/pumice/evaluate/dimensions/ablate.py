"""Parts of a model taken away for a while: what its connector says, and where text sees the picture.

Legend: T tokens of a picture (in masks: of a pass), D width of the language model, K keys of its sequences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.image.layout import ImageLayout
from pumice.infer import Generator
from pumice.infer.pictures import ImageSource, PictureEncoder
from pumice.model.layers import layer_list

AVERAGED = 64
"""Pictures whose features make the mean."""
CUT_ROWS = 8
"""Questions that are answered at once while sight is cut."""

Replace = Callable[[Tensor], Tensor]
"""From the embeddings [T, D] of a picture to others of the same shape."""


class _Replacing(PictureEncoder):
    """An encoder whose embeddings are replaced on their way to the language model."""

    def __init__(self, inner: PictureEncoder, replace: Replace) -> None:
        self.model, self.geometry, self._replace = inner.model, inner.geometry, replace

    def embed_tiles(
        self, tiles: Sequence[NDArray[np.float32]], layouts: Sequence[ImageLayout]
    ) -> list[Tensor]:
        """The other embeddings."""
        return [self._replace(one_TD) for one_TD in super().embed_tiles(tiles, layouts)]


@contextmanager
def connector_replaced(generator: Generator, replace: Replace) -> Iterator[None]:
    """While it lasts, pictures reach the language model as ``replace`` makes them."""
    before = generator.pictures
    generator.pictures = _Replacing(before, replace)
    try:
        yield
    finally:
        generator.pictures = before


def mean_of(generator: Generator, pictures: Sequence[ImageSource]) -> Replace:
    """Every token of every picture is the mean over all tokens of the first ``AVERAGED`` pictures."""
    shown = [one for source in pictures[:AVERAGED] for one in generator.pictures.lay_out([source])]
    mean_D = torch.cat(list(generator.pictures.embed(shown).values())).float().mean(dim=0)
    return lambda one_TD: mean_D.to(one_TD).expand_as(one_TD)


def noise_like(one_TD: Tensor) -> Tensor:
    """Gaussian noise, each token of the same length as the one it stands for; the same for equal pictures."""
    values = one_TD.detach().float().cpu()
    seed = int.from_bytes(hashlib.sha256(values.contiguous().numpy().tobytes()).digest()[:7])
    noise_TD = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    scale_T1 = values.norm(dim=1, keepdim=True) / noise_TD.norm(dim=1, keepdim=True)
    scaled_TD: Tensor = (noise_TD * scale_T1).to(one_TD)
    return scaled_TD


def layers_of(generator: Generator) -> list[Any]:
    """The language model's layers.

    Raises:
        CheckpointError: it keeps none in a list.
    """
    found = layer_list(generator.model.lm)
    if found is None:
        raise CheckpointError(
            f"the layers of {type(generator.model.lm).__name__} are not known",
            remedy="leave out the dimension fusion",
        )
    return list(found)


@contextmanager
def sight_cut(generator: Generator, first: int, last: int) -> Iterator[None]:
    """While it lasts, text does not see picture tokens in the layers ``first`` to ``last`` (from 0).

    Picture tokens see each other as before, and what text has taken over in other layers stays.
    """
    model = generator.model
    rows, cache_bytes, packs = generator.max_rows, generator.cache_bytes, model.packs
    # Whole masks, which show and hide single keys; they cover the keys of all rows, so rows are few.
    model.packs = False
    generator.resize(min(rows, CUT_ROWS), cache_bytes)
    cut = _Cut(generator)
    hooks = [
        layer.register_forward_pre_hook(cut.hide, with_kwargs=True)
        for layer in layers_of(generator)[first : last + 1]
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.packs = packs
        generator.resize(rows, cache_bytes)


class _Cut:
    """The masks of a pass without the pictures."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def hide(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mask = kwargs.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.dim() != 4:
            raise CheckpointError(
                f"{type(layer).__name__} takes no mask that could be changed",
                remedy="leave out the dimension fusion",
            )
        text, seen = [], []
        for work in self._generator.engine.passing:
            shown = np.zeros(len(work.sequence.ids), dtype=bool)
            for picture in work.sequence.prompt.pictures:
                shown[picture.start : picture.start + picture.length] = True
            stop = work.sequence.computed + work.count
            text.append(~shown[work.sequence.computed : stop])
            seen.append(shown[:stop])
        text_T, seen_K = (torch.from_numpy(np.concatenate(x)).to(mask.device) for x in (text, seen))
        lowest = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        hidden = mask.masked_fill(text_T[:, None] & seen_K, lowest)
        return args, {**kwargs, "attention_mask": hidden}
