"""Parts of a model taken away for a while: what its connector says, and where text sees the picture.

Legend: T tokens of a picture, D width of the language model, B rows, Q queries, K keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pumice.errors import CheckpointError, RunError
from pumice.infer import Generator
from pumice.infer.pictures import ImageSource, PictureEncoder, Shown
from pumice.model.layers import layer_list

AVERAGED = 64
"""Pictures whose features make the mean."""

Replace = Callable[[Tensor], Tensor]
"""From the embeddings [T, D] of a picture to others of the same shape."""


class _Replacing(PictureEncoder):
    """An encoder whose embeddings are replaced on their way to the language model."""

    def __init__(self, inner: PictureEncoder, replace: Replace) -> None:
        self.model, self.geometry, self._replace = inner.model, inner.geometry, replace

    def embed(self, shown: Iterable[Shown]) -> dict[Hashable, Tensor]:
        """The other embeddings, by key."""
        return {key: self._replace(one_TD) for key, one_TD in super().embed(shown).items()}


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

    Picture tokens see each other as before, and what text has taken over in other layers stays. All questions
    of a call must show one picture each, of equally many tokens.
    """
    cut = _Cut()
    model, whole = generator.model, generator.model.embed

    def embed(ids: Tensor, embeds: Any, images: Sequence[tuple[int, int, int]]) -> Tensor:
        if images:
            cut.place({(start, length) for _, start, length in images})
        return whole(ids, embeds, images)

    hooks = [
        layer.register_forward_pre_hook(cut.hide, with_kwargs=True)
        for layer in layers_of(generator)[first : last + 1]
    ]
    # An attribute of the object, which stands before the class's method.
    model.__dict__["embed"] = embed
    try:
        yield
    finally:
        del model.__dict__["embed"]
        for hook in hooks:
            hook.remove()


class _Cut:
    """Where the pictures of the batch stand, and the masks without them."""

    def __init__(self) -> None:
        self.start = self.length = 0

    def place(self, spans: set[tuple[int, int]]) -> None:
        if len(spans) != 1:
            raise RunError(
                "sight can be cut for pictures of one size and one to a question", where="dimension fusion"
            )
        ((self.start, self.length),) = spans

    def hide(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mask = kwargs.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.dim() != 4:
            raise CheckpointError(
                f"{type(layer).__name__} takes no mask that could be changed",
                remedy="leave out the dimension fusion",
            )
        queries, keys = mask.shape[2:]
        end = self.start + self.length
        # A block that begins the row holds the picture itself; later ones are all text.
        begins = queries == keys
        first = end if begins else 0
        hidden = mask.clone(memory_format=torch.contiguous_format)
        hidden[:, :, first:, self.start : end] = (
            False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        )
        return args, {**kwargs, "attention_mask": hidden}
