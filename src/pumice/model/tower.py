"""The vision tower: pixels to the features of one chosen layer.

Legend: N images, C channels, H height, W width, S tokens of the tower (class token and patches),
P features kept per image, V width of the tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pumice.errors import CheckpointError, suggest

SelectFeature = Literal["patch", "cls_patch"]


@dataclass(frozen=True, slots=True)
class TowerFamily:
    """What must be known of one ``config.model_type``.

    Attributes:
        class_tokens: tokens that stand before the patches.
        pre_norm: the layer norm between the embeddings and the first layer, if there is one.
        layers: the module list of the encoder, as a dotted path.
    """

    class_tokens: int
    pre_norm: str | None
    layers: str


FAMILIES: dict[str, TowerFamily] = {
    "clip_vision_model": TowerFamily(class_tokens=1, pre_norm="pre_layrnorm", layers="encoder.layers"),
    "siglip_vision_model": TowerFamily(class_tokens=0, pre_norm=None, layers="encoder.layers"),
}
"""Towers by exact ``config.model_type``."""


def tower_family(model_type: str) -> TowerFamily:
    """The family of a vision config's ``model_type``; CheckpointError with the choices if unknown."""
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"there is no vision tower of model_type {model_type!r}",
            where="config.json of the vision checkpoint",
            remedy=suggest(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


class VisionTower(nn.Module):
    """A transformers vision model, read at one hidden layer.

    Args:
        model: the vision model (``CLIPVisionModel``, ...).
        select_layer: index into ``hidden_states`` (0 is the embedding, -1 the last layer's output);
            LLaVA's published recipes all use -2. Later layers are not computed.
        select_feature: ``patch`` drops the class token, ``cls_patch`` keeps it.
    """

    def __init__(self, model: Any, *, select_layer: int = -2, select_feature: str = "patch") -> None:
        super().__init__()
        if select_feature not in ("patch", "cls_patch"):
            raise CheckpointError(
                f"there is no feature selection {select_feature!r}",
                where="select_feature",
                remedy=suggest(select_feature, ("patch", "cls_patch")),
            )
        self.model = model
        self.config: Any = model.config
        self.family = tower_family(self.config.model_type)
        self.select_feature = select_feature
        self.select_layer = select_layer
        states = int(self.config.num_hidden_layers) + 1
        if not -states <= select_layer < states:
            raise CheckpointError(
                f"layer {select_layer} does not exist: the tower has {states} hidden states",
                where="select_layer",
                remedy=f"choose from {-states} to {states - 1}",
            )
        self.depth = select_layer % states

    @property
    def dim(self) -> int:
        """The width V of a feature."""
        return int(self.config.hidden_size)

    @property
    def image_size(self) -> int:
        """Height and width of an input picture, in pixels."""
        return int(self.config.image_size)

    @property
    def patch_size(self) -> int:
        """Height and width of one patch, in pixels."""
        return int(self.config.patch_size)

    @property
    def class_tokens(self) -> int:
        """How many tokens stand before the patches in the tower's own sequence."""
        return self.family.class_tokens

    @property
    def length(self) -> int:
        """P: how many features one picture gives."""
        patches = (self.image_size // self.patch_size) ** 2
        return patches + (self.class_tokens if self.select_feature == "cls_patch" else 0)

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the tower trains."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Features [N, P, V] of float pixels [N, C, H, W] (normalised as the tower's processor does)."""
        if tuple(pixels_NCHW.shape[2:]) != (self.image_size, self.image_size):
            raise CheckpointError(
                f"the tower takes pictures of {self.image_size}x{self.image_size} pixels, "
                f"got {pixels_NCHW.shape[2]}x{pixels_NCHW.shape[3]}",
                remedy="use the image processor that belongs to this tower",
            )
        # Some releases of transformers nest the network under `vision_model`, others do not.
        core: Any = getattr(self.model, "vision_model", self.model)
        hidden_NSV = core.embeddings(pixels_NCHW.to(core.embeddings.patch_embedding.weight.dtype))
        if self.family.pre_norm is not None:
            hidden_NSV = getattr(core, self.family.pre_norm)(hidden_NSV)
        for layer in core.get_submodule(self.family.layers)[: self.depth]:
            hidden_NSV = layer(hidden_NSV, None)
        if self.select_feature == "patch":
            hidden_NSV = hidden_NSV[:, self.class_tokens :]
        assert isinstance(hidden_NSV, torch.Tensor)
        return hidden_NSV
