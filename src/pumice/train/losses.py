"""What a stage minimises, for training and for validation alike.

Shapes: N pictures, n of them with boxes, P patches, D language model width, K token slots of a cell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Stage
from pumice.train.dataset import StageData
from pumice.train.grounding import cell_embeddings, grounding_loss, joint_variance
from pumice.train.pictures import Pictures
from pumice.types import Batch


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage's training and validation share.

    ``position_ids_4`` are the tokens of the grounding's words for left, right, top and bottom.
    """

    stage: Stage
    pictures: Pictures
    position_ids_4: Tensor | None


def autocast(stage: Stage, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The precision of a stage: bf16 autocast, or none.

    ``auto`` is bf16 where the device multiplies bf16 faster than fp32: CUDA, and CPUs with AVX-512 BF16
    or AMX.
    """
    if stage.precision == "fp32":
        return contextlib.nullcontext()
    capable = device.type == "cuda" or (device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if stage.precision == "auto" and not capable:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def stage_losses(
    model: VisionLanguageModel,
    batch: Batch,
    data: StageData,
    context: Context,
    spread: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Summed text loss of a batch, and its mean grounding loss where the stage has one.

    ``spread`` is the variance of the wanted features of all parts of a step (``step_spread``); None
    takes that of this batch.
    """
    spans = [(image.row, image.start, image.length) for image in batch.images]
    device = model.device
    embeds = picture_embeds(model, batch, data, context)
    ids, labels, positions, segments, branches = (
        torch.from_numpy(array).to(device)
        for array in (batch.input_ids, batch.labels, batch.position_ids, batch.segment_ids, batch.branch_ids)
    )
    total, count = model.loss(ids, labels, positions, segments, branches, spans, image_embeds_NPD=embeds)
    assert count == batch.supervised, f"{count} supervised tokens seen, {batch.supervised} planned"
    wanted = None if embeds is None else _wanted(model, batch, data, context)
    if wanted is None or embeds is None:
        return total, None
    known_N, wanted_NPD = wanted
    embeds_NPD = torch.stack(embeds)  # a grounded stage has one square a picture
    return total, grounding_loss(embeds_NPD[known_N], wanted_NPD, spread)


def picture_embeds(
    model: VisionLanguageModel, batch: Batch, data: StageData, context: Context
) -> list[Tensor] | None:
    """Embeddings [length, D] of each picture and video of a batch; None where there is none."""
    views = data.views(batch)
    if not views:
        return None
    features_MPV = context.pictures.features(model, views)
    return model.lay_out(features_MPV, [view.layout for view in views])


@torch.no_grad()
def step_spread(
    model: VisionLanguageModel, batches: Sequence[Batch], data: StageData, context: Context
) -> Tensor | None:
    """The variance of the features wanted in all parts of a step together; None where there are none.

    The grounding loss is a share of it. Each part's own would make the result depend on the split.
    """
    wanted = [_wanted(model, batch, data, context) for batch in batches if batch.images]
    known = [pair[1] for pair in wanted if pair is not None]
    return joint_variance(known) if known else None


def _wanted(
    model: VisionLanguageModel, batch: Batch, data: StageData, context: Context
) -> tuple[Tensor, Tensor] | None:
    """Which pictures of a batch have boxes (bool [N]), and the wanted features of those [n, P, D]."""
    grounding = context.stage.grounding
    if grounding is None:
        return None
    cells, known_N = data.cells(batch, grounding)
    if not known_N.any():
        return None
    device, words_4 = model.device, context.position_ids_4
    wanted_nPD = cell_embeddings(
        model.lm.get_input_embeddings().weight.detach(),
        torch.from_numpy(cells.words[known_N]).to(device),
        torch.from_numpy(cells.places[known_N]).to(device),
        None if words_4 is None else words_4.to(device),
    )
    return torch.from_numpy(known_N).to(device), wanted_nPD
