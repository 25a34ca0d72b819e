"""The vision tower: pixels to the features of one chosen layer.

Legend: N images, C channels, H height, W width, S tokens of the tower (class token and patches),
P features kept per image, V width of the tower.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pumice.errors import CheckpointError, suggest
from pumice.model.attention import AUTO
from pumice.model.filling import filled_mask, filled_up, fills_up

SelectFeature = Literal["patch", "cls_patch"]


@dataclass(frozen=True, slots=True)
class TowerFamily:
    """What must be known of one ``config.model_type``.

    Attributes:
        layers: the module list of the encoder, as a dotted path.
        class_tokens: whether a class token stands before the patches; register tokens, of which the
            config tells the number, stand behind it.
        pre_norm: the layer norm between the embeddings and the first layer, if there is one.
        call: what a layer takes beside the hidden states: a mask, which is None; nothing; or rotations.
        prefix: before every name in checkpoint files.
        any_size: positions fit pictures of other sizes than the config's.
    """

    layers: str
    class_tokens: bool
    pre_norm: str | None = None
    call: Literal["mask", "nothing", "rotations"] = "nothing"
    prefix: str = ""
    any_size: bool = False


FAMILIES: dict[str, TowerFamily] = {
    "clip_vision_model": TowerFamily(
        "encoder.layers", class_tokens=True, pre_norm="pre_layrnorm", call="mask", prefix="vision_model."
    ),
    "siglip_vision_model": TowerFamily(
        "encoder.layers", class_tokens=False, call="mask", prefix="vision_model."
    ),
    "dinov2": TowerFamily("encoder.layer", class_tokens=True, any_size=True),
    "dinov2_with_registers": TowerFamily("encoder.layer", class_tokens=True, any_size=True),
    "dinov3_vit": TowerFamily("model.layer", class_tokens=True, call="rotations", any_size=True),
    "vit": TowerFamily("layers", class_tokens=True),
}
"""Towers by exact ``config.model_type``. SigLIP 2's checkpoints of one resolution are SigLIP's."""

FLEXIBLE = ("siglip2", "siglip2_vision_model")
"""Model types that take pictures in their own shape; they are refused by name."""


def tower_family(model_type: str) -> TowerFamily:
    """The family of a vision config's ``model_type``; CheckpointError with the choices if unknown."""
    if model_type in FLEXIBLE:
        raise CheckpointError(
            f"{model_type!r} is the variant of SigLIP 2 that takes pictures in their own shape (NaFlex), "
            "which is not supported",
            where="config.json of the vision checkpoint",
            remedy="take a SigLIP 2 checkpoint of one resolution, such as siglip2-so400m-patch14-384",
        )
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"there is no vision tower of model_type {model_type!r}",
            where="config.json of the vision checkpoint",
            remedy=suggest(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


class Tower(nn.Module):
    """What turns pixels into features: one vision model, several joined, or one at several scales."""

    @property
    @abstractmethod
    def members(self) -> tuple[VisionTower, ...]:
        """The vision models in it."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """The width V of a feature."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Height and width of an input picture, in pixels."""

    @property
    def grid(self) -> int:
        """How many patches of features stand beside each other, and below each other."""
        return self.members[0].grid

    @property
    def length(self) -> int:
        """P: how many features one picture gives."""
        return self.grid**2

    @property
    def select_feature(self) -> str:
        """``patch`` or ``cls_patch``."""
        return self.members[0].select_feature

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the tower trains."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def check_pixels(self, pixels_NCHW: Tensor) -> None:
        """CheckpointError unless the pictures have the tower's size."""
        if tuple(pixels_NCHW.shape[2:]) != (self.image_size, self.image_size):
            raise CheckpointError(
                f"the tower takes pictures of {self.image_size}x{self.image_size} pixels, "
                f"got {pixels_NCHW.shape[2]}x{pixels_NCHW.shape[3]}",
                remedy="use the image processor that belongs to this tower",
            )


class VisionTower(Tower):
    """A transformers vision model, read at one hidden layer.

    Args:
        model: the vision model (``CLIPVisionModel``, ...).
        select_layer: index into ``hidden_states`` (0 is the embedding, -1 the last layer's output before
            any last norm); LLaVA's published recipes all use -2. Later layers are not computed. Of
            several, the features are joined along the channels, in their order.
        select_feature: ``patch`` drops the class and register tokens, ``cls_patch`` keeps them.
        image_size: pixels of the input's sides, where the family takes other sizes than its config's.
    """

    def __init__(
        self,
        model: Any,
        *,
        select_layer: int | tuple[int, ...] = -2,
        select_feature: str = "patch",
        image_size: int | None = None,
    ) -> None:
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
        self._select_feature = select_feature
        self.select_layer = select_layer
        states = int(self.config.num_hidden_layers) + 1
        layers = select_layer if isinstance(select_layer, tuple) else (select_layer,)
        absent = [layer for layer in layers if not -states <= layer < states]
        if absent or not layers:
            raise CheckpointError(
                f"layer {absent[0] if absent else ()} does not exist: the tower has {states} hidden states",
                where="select_layer",
                remedy=f"choose from {-states} to {states - 1}",
            )
        self.depths = tuple(layer % states for layer in layers)
        own = int(self.config.image_size)
        self._image_size = image_size or own
        if self._image_size != own and not self.family.any_size:
            raise CheckpointError(
                f"the image processor makes pictures of {self._image_size} pixels, but the tower was made "
                f"for {own}",
                where="preprocessor_config.json of the vision checkpoint",
                remedy="use the image processor that belongs to this tower",
            )
        if self._image_size < self.patch_size:
            raise CheckpointError(
                f"a picture of {self._image_size} pixels has no patch of {self.patch_size}",
                where="image_size of the vision checkpoint",
            )

    @property
    def members(self) -> tuple[VisionTower, ...]:
        """Itself."""
        return (self,)

    @property
    def dim(self) -> int:
        """The width V of a feature."""
        return int(self.config.hidden_size) * len(self.depths)

    @property
    def image_size(self) -> int:
        """Height and width of an input picture, in pixels."""
        return self._image_size

    @property
    def patch_size(self) -> int:
        """Height and width of one patch, in pixels."""
        return int(self.config.patch_size)

    @property
    def grid(self) -> int:
        """How many patches stand beside each other, and below each other."""
        return self.image_size // self.patch_size

    @property
    def class_tokens(self) -> int:
        """How many tokens stand before the patches in the tower's own sequence."""
        if not self.family.class_tokens:
            return 0
        return 1 + int(getattr(self.config, "num_register_tokens", 0) or 0)

    @property
    def length(self) -> int:
        """P: how many features one picture gives."""
        return self.grid**2 + (self.class_tokens if self.select_feature == "cls_patch" else 0)

    @property
    def select_feature(self) -> str:
        """``patch`` or ``cls_patch``."""
        return self._select_feature

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Features [N, P, V] of float pixels [N, C, H, W] (normalised as the tower's processor does)."""
        self.check_pixels(pixels_NCHW)
        # Some releases of transformers nest the network under `vision_model`, others do not.
        core: Any = getattr(self.model, "vision_model", self.model)
        pixels_NCHW = pixels_NCHW.to(next(self.model.parameters()).dtype)
        hidden_NSV = core.embeddings(pixels_NCHW)
        if self.family.pre_norm is not None:
            hidden_NSV = getattr(core, self.family.pre_norm)(hidden_NSV)
        positional, named = self._layer_arguments(core, pixels_NCHW)
        tokens = hidden_NSV.shape[1]
        ours = self.family.call == "mask" and self.config._attn_implementation == AUTO
        # The kernel does not mind how many rows there are.
        if ours and fills_up(hidden_NSV) and any(type(one) is nn.Linear for one in core.modules()):
            hidden_NSV = filled_up(hidden_NSV)
            positional = (filled_mask(hidden_NSV, tokens),)
        states = {0: hidden_NSV}
        for number, layer in enumerate(core.get_submodule(self.family.layers)[: max(self.depths)], start=1):
            hidden_NSV = layer(hidden_NSV, *positional, **named)
            if number in self.depths:
                states[number] = hidden_NSV
        states = {number: state_NSV[:, :tokens] for number, state_NSV in states.items()}
        chosen = [states[depth] for depth in self.depths]
        features_NSV = chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=2)
        if self.select_feature == "patch":
            features_NSV = features_NSV[:, self.class_tokens :]
        assert isinstance(features_NSV, torch.Tensor)
        return features_NSV

    def _layer_arguments(self, core: Any, pixels_NCHW: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.family.call == "mask":
            return (None,), {}
        if self.family.call == "rotations":
            return (), {"position_embeddings": core.rope_embeddings(pixels_NCHW)}
        return (), {}
