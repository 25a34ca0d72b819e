"""Stages that train additions to the language model in place of its weights: LoRA, DoRA, QLoRA.

While such a stage runs, PEFT's layers stand in the language model. At its end the adapter's folder is
written, the additions are added to the weights, and everything behind sees a plain model again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers

import pumice
from pumice.lineage.digests import weight_digests
from pumice.lineage.record import write_lineage
from pumice.model import Checkpoint, VisionLanguageModel
from pumice.model.adapter import BasePart
from pumice.model.adapter_save import save_adapter
from pumice.model.attach import Attached, new_config, require_extras, target_names
from pumice.model.lora import ADAPTER_CONFIG
from pumice.model.nf4 import Quantization
from pumice.model.save import write_checkpoint
from pumice.recipes.schema import Recipe, Stage
from pumice.train.losses import computes_half
from pumice.train.record import Parts

_OF_BASE = ("language", "vision")
"""Parts that make the model a new base for adapters where an earlier stage trained them."""


def check_extras(recipe: Recipe) -> None:
    """MissingExtraError where a library that a stage needs is not installed."""
    for stage in recipe.stages:
        if stage.lora is not None:
            require_extras(stage.lora, f"stages.{stage.name}.lora")


def check_targets(model: VisionLanguageModel, stage: Stage) -> None:
    """RunError where a stage's ``lora`` names layers that the language model does not have."""
    if stage.lora is not None:
        target_names(model.lm, stage.lora.targets, f"stages.{stage.name}.lora")


def attach(model: VisionLanguageModel, stage: Stage, seed: int) -> Attached | None:
    """Put a stage's additions into the language model; None where it has none.

    Their first values follow from the seed and the stage's name.
    """
    if stage.lora is None:
        return None
    quantization = None
    if stage.lora.quantize is not None:
        quantization = Quantization(stage.lora.double_quantization, _compute_type(stage, model.device))
    config = new_config(model.lm, stage.lora, f"stages.{stage.name}.lora")
    first = zlib.crc32(f"{seed} {stage.name} lora".encode())
    return Attached(model.lm, config, quantization, seed=first)


def _compute_type(stage: Stage, device: torch.device) -> str:
    """The type that a stage's matrix products are taken in."""
    return "bfloat16" if computes_half(stage, device) else "float32"


def finish(
    attached: Attached,
    checkpoint: Checkpoint,
    folder: Path | None,
    base: Mapping[str, BasePart],
    lineage: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    *,
    tower: bool,
) -> None:
    """Write the adapter's folder, whole or not at all, and add the additions to the weights.

    Args:
        attached: the stage's additions.
        checkpoint: the model with them, its tokenizer and image processor.
        folder: where to; None writes nothing.
        base, lineage, tower: see ``save_adapter``.
        record: where it comes from (``lineage.record``); None writes none.
    """
    if folder is not None:
        write_adapter(attached, checkpoint, folder, base, lineage, record, tower=tower)
    attached.merge()


def write_adapter(
    attached: Attached,
    checkpoint: Checkpoint,
    folder: Path,
    base: Mapping[str, BasePart],
    lineage: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    *,
    tower: bool,
) -> None:
    """Write the adapter's folder, whole or not at all; the model goes on as it is. As for ``finish``."""
    model, tokenizer, processor = checkpoint

    def write(place: Path) -> None:
        save_adapter(place, model, attached, tokenizer, processor, base, lineage, tower=tower)
        if record is not None:
            write_lineage(place, record)

    write_checkpoint(folder, write, mark=ADAPTER_CONFIG)


def base_of(
    recipe: Recipe, stage: Stage, described: Mapping[str, Mapping[str, Any]], parts: Parts, folder: Path
) -> dict[str, BasePart]:
    """What a stage's adapter is an addition to: the recipe's parts, or the model of the stage before it.

    Args:
        recipe: the run's.
        stage: one with ``lora``.
        described: the parts' names and digests (``describe_parts``).
        parts: their folders.
        folder: the run's.
    """
    earlier = recipe.stages[: recipe.stages.index(stage)]
    if _changed(earlier):
        last = f"stages/{earlier[-1].name}/model"
        path = os.path.relpath(folder / last, folder / "stages" / stage.name / "adapter")
        return {"checkpoint": BasePart(last, path, weight_digests(folder / last))}
    return {
        part: BasePart(str(described[part]["name"]), str(place.resolve()), described[part]["sha256"])
        for part, place in parts.places().items()
    }


def _changed(earlier: Iterable[Stage]) -> bool:
    return any(part in stage.parts for stage in earlier for part in _OF_BASE)


def made_of(recipe: Recipe, stage: Stage, steps: int) -> dict[str, Any]:
    """How an adapter was made, for its record."""
    libraries = [name for name in ("peft", "bitsandbytes") if find_spec(name) is not None]
    return {
        "recipe": recipe.name,
        "stage": stage.name,
        "steps": steps,
        "seed": recipe.seed,
        "lora": None if stage.lora is None else stage.lora.model_dump(mode="json"),
        "pumice": pumice.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **{name: version(name) for name in libraries},
    }
