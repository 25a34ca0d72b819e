"""The sizes of a model, counted on the meta device: no weights are read and none are made."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from pumice.cost.shape import LanguageShape, Shape, TowerShape
from pumice.errors import CheckpointError
from pumice.model.build import lm_width
from pumice.model.connector import build_connector
from pumice.model.tower import Tower, VisionTower
from pumice.model.vlm import VisionLanguageModel


def model_shape(model: VisionLanguageModel) -> Shape:
    """The sizes of a model that is there, on whatever device."""
    return Shape(_tower(model.tower), _count(model.connector), _language(model.lm))


def config_shape(
    vision: Any, language: Any, *, connector: str, select_layer: int, select_feature: str
) -> Shape:
    """The sizes of the model that two transformers configs would give.

    Args:
        vision: a vision tower's config (its own, not that of the two-towered model around it).
        language: a causal LM's config.
        connector: see ``build_connector``.
        select_layer: the tower's hidden state that is read.
        select_feature: ``patch`` or ``cls_patch``.

    Raises:
        CheckpointError: transformers has no such model, or the options do not fit it.
    """
    with torch.device("meta"):
        tower = VisionTower(
            _empty(AutoModel, vision), select_layer=select_layer, select_feature=select_feature
        )
        lm = _empty(AutoModelForCausalLM, language)
    width, dim = lm_width(lm), tower.dim
    bridge = build_connector(connector, dim, width)
    return Shape(_tower(tower), _count(bridge), _language(lm))


def _empty(auto: Any, config: Any) -> Any:
    """A model of a config, without weights where the default device is the meta device."""
    try:
        return auto.from_config(config)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"transformers has no {auto.__name__} for model_type {config.model_type!r}: {error}"
        ) from error


def _tower(tower: Tower) -> TowerShape:
    """The sizes of a tower; of several, those of one that costs as much as all together."""
    shapes = [_member(member) for member in tower.members]
    if len(shapes) == 1:
        return shapes[0]
    widest = max(shapes, key=lambda shape: shape.used)
    return TowerShape(
        params=sum(shape.params for shape in shapes),
        used=sum(shape.used * shape.tokens for shape in shapes) // widest.tokens,
        layers=widest.layers,
        width=widest.width,
        tokens=widest.tokens,
    )


def _member(tower: VisionTower) -> TowerShape:
    core: Any = getattr(tower.model, "vision_model", tower.model)
    layers: Any = core.get_submodule(tower.family.layers)
    depth = max(tower.depths)
    each = _count(layers[0]) if len(layers) else 0
    classes = int(tower.class_tokens)
    tokens = tower.length + (classes if tower.select_feature == "patch" else 0)
    return TowerShape(
        _count(tower.model),
        _count(core.embeddings) + each * depth,
        depth,
        int(tower.config.hidden_size),
        tokens,
    )


def _language(lm: Any) -> LanguageShape:
    config = lm.config
    embedding: nn.Parameter = lm.get_input_embeddings().weight
    head: nn.Parameter = lm.get_output_embeddings().weight
    tied = head is embedding or bool(getattr(config, "tie_word_embeddings", False))
    body = _count(lm.base_model) - embedding.numel()
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return LanguageShape(
        body=body,
        embedding=embedding.numel(),
        head=0 if tied else head.numel(),
        layers=int(config.num_hidden_layers),
        width=int(embedding.shape[1]),
        attention_width=heads * size,
        mlp_width=int(config.intermediate_size),
        vocabulary=int(embedding.shape[0]),
        tied=tied,
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
