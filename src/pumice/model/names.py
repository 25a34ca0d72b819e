"""Names of tensors: ours, and the layouts in which LLaVA checkpoints lie on disk.

Ours are ``tower.model.*``, ``connector.{0,2,..}.*`` and ``lm.*`` (the causal LM's own names below).
On disk transformers has had three layouts (all are read, the first is written):

1. ``vision_tower.vision_model.*``, ``multi_modal_projector.linear_{1,2}.*``,
   ``language_model.model.*``, ``language_model.lm_head.*`` (the hub's checkpoints; vLLM and SGLang
   read it too);
2. ``model.vision_tower.*``, ``model.multi_modal_projector.*``, ``model.language_model.*``,
   ``lm_head.*``;
3. as 1, but ``vision_tower.*`` without ``vision_model`` (what transformers 5.23 itself saves).

LLaVA-NeXT's ``image_newline`` lies beside them, in layout 2 at ``model.image_newline``.

A connector that transformers' LLaVA has no place for lies at ``multi_modal_projector.layers.N.*``,
with N its index in our connector. Of several towers, number N lies at ``vision_towers.N.*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["tower", "towers", "connector", "lm", "newline"]
"""``towers`` holds all of several, each name led by its number; ``newline`` one tensor, without a name."""

TRANSFORMERS_CONNECTOR = "mlp2x_gelu"
"""The one connector that transformers' LLaVA architecture has."""

_LINEAR = {"linear_1": "0", "linear_2": "2"}
_LINEAR_BACK = {index: name for name, index in _LINEAR.items()}
_NOT_WEIGHTS = (".inv_freq", ".position_ids")
"""Buffers that old releases saved and new ones compute."""
NEWLINE = "image_newline"


@dataclass(frozen=True, slots=True)
class LmNames:
    """How the causal LM names its own parts.

    Attributes:
        body: prefix of the model without its head (``base_model_prefix``, ``model`` for Llama).
        head: prefix of everything else that layout 2 keeps outside (``lm_head``).
    """

    body: str = "model"
    head: str = "lm_head"


def to_disk(part: Part, name: str, connector: str, prefix: str = "vision_model.") -> str:
    """The key of layout 1 for the tensor ``name`` of a part (named as the part itself names it).

    ``prefix`` stands before every name of the tower's family (``TowerFamily.prefix``).
    """
    if part == "newline":
        return NEWLINE
    if part == "lm":
        return f"language_model.{name}"
    if part == "tower":
        return f"vision_tower.{prefix}{name.removeprefix(prefix)}"
    if part == "towers":
        return f"vision_towers.{name}"
    index, _, leaf = name.partition(".")
    if connector == TRANSFORMERS_CONNECTOR:
        return f"multi_modal_projector.{_LINEAR_BACK[index]}.{leaf}"
    return f"multi_modal_projector.layers.{name}"


def from_disk(key: str, lm: LmNames) -> tuple[Part, str] | None:
    """The part and the name within it of a key on disk, in any of the three layouts.

    Tower names come without ``vision_model``. None for a buffer that is computed, not stored.

    Raises:
        KeyError: the key belongs to no layout.
    """
    if key.endswith(_NOT_WEIGHTS):
        return None
    if key.startswith(f"{lm.head}."):
        return "lm", key
    if key.startswith("model.language_model."):
        return "lm", f"{lm.body}.{key.removeprefix('model.language_model.')}"
    if key.startswith("language_model."):
        return "lm", key.removeprefix("language_model.")
    key = key.removeprefix("model.")
    if key == NEWLINE:
        return "newline", ""
    if key.startswith("vision_tower."):
        return "tower", key.removeprefix("vision_tower.").removeprefix("vision_model.")
    if key.startswith("vision_towers."):
        return "towers", key.removeprefix("vision_towers.")
    if key.startswith("multi_modal_projector.layers."):
        return "connector", key.removeprefix("multi_modal_projector.layers.")
    if key.startswith("multi_modal_projector."):
        linear, _, leaf = key.removeprefix("multi_modal_projector.").partition(".")
        if linear in _LINEAR:
            return "connector", f"{_LINEAR[linear]}.{leaf}"
    raise KeyError(key)
