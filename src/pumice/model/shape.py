"""The sizes of a model, on whatever device: on the meta device no weights are needed."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from torch import nn

from pumice.cost.shape import Additions, LanguageShape, Partly, Shape, TowerShape
from pumice.errors import CheckpointError, suggest
from pumice.model.select import idle_names, part_parameters, stacks
from pumice.model.tower import Tower, VisionTower
from pumice.model.vlm import VisionLanguageModel
from pumice.recipes.schema import Lora
from pumice.recipes.values import PartName


def model_shape(model: VisionLanguageModel) -> Shape:
    """The sizes of a whole model."""
    return Shape(_tower(model.tower), _count(model.connector), _language(model.lm))


def additions_of(lm: Any, lora: Lora) -> Additions:
    """The additions that a stage's ``lora`` block gives a causal LM: a pair of matrices a linear layer.

    Raises:
        CheckpointError: no linear layer has a name that it gives.
    """
    head = lm.get_output_embeddings()
    layers = {
        name: module
        for name, module in lm.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    names = {name.rpartition(".")[2] for name in layers}
    for wanted in lora.targets:
        if wanted not in names:
            raise CheckpointError(
                f"the language model has no linear layer {wanted!r}",
                where="lora.targets",
                remedy=suggest(wanted, names),
            )
    chosen = [
        module
        for name, module in layers.items()
        if not lora.targets or name.rpartition(".")[2] in lora.targets
    ]
    params = sum(lora.rank * (layer.in_features + layer.out_features) for layer in chosen)
    if lora.dora:
        params += sum(layer.out_features for layer in chosen)
    covered = sum(layer.weight.numel() for layer in chosen)
    bits = None
    if lora.quantize is not None:
        # bitsandbytes: a scale for each block of 64, in float32, or in 8 bits with one for each 256 of them.
        bits = 4 + (8 / 64 + 32 / (64 * 256) if lora.double_quantization else 32 / 64)
    return Additions(params, covered, bits)


def partly_trained(
    model: VisionLanguageModel, part: PartName, names: AbstractSet[str], shape: Shape
) -> Partly | None:
    """How much of a part trains, given the names inside it that do; None where all or nothing of it does.

    What no feature depends on counts as nothing.
    """
    named = dict(part_parameters(model, part))
    idle = idle_names(model.tower) if part == "vision" else set()
    if not names or names >= named.keys() - idle:
        return None
    counts = {name: named[name].numel() for name in names}
    params = sum(counts.values())
    if part == "connector":
        return Partly(params, params / shape.connector, 1.0)
    lowest: list[float] = []
    own_stacks = stacks(model, part)
    for stack in own_stacks:
        numbers = [
            int(name.removeprefix(stack.prefix).partition(".")[0])
            for name in names
            if name.startswith(stack.prefix)
        ]
        lowest.append(1 - min(numbers) / stack.used if numbers else 0.0)
    outside = [name for name in names if not name.startswith(tuple(stack.prefix for stack in own_stacks))]
    tables: dict[str, int] = {}
    if part == "language":
        ends = (model.lm.get_input_embeddings(), model.lm.get_output_embeddings())
        own_ids = [{id(p) for p in module.parameters()} for module in ends]
        tables = {name: n for name, n in counts.items() if any(id(named[name]) in ids for ids in own_ids)}
        computed = shape.language.body
        first = any(id(named[name]) in own_ids[0] for name in names)
        head = any(id(named[name]) in own_ids[1] for name in names)
    else:
        computed, head = shape.tower.used, False
        first = bool(outside)  # embeddings, or the norm behind them
    own = params - sum(tables.values())
    return Partly(params, min(1.0, own / computed), 1.0 if first else max(lowest, default=0.0), head)


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
        heads=heads,
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
