"""What a stage minimises, for training and for validation alike.

Shapes: N pictures, n of them with boxes, P patches, D language model width, K token slots of a cell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pumice.data.collate import LONE_MULTIPLE
from pumice.data.plan import Plan
from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Stage
from pumice.train.dataset import StageData
from pumice.train.grounding import cell_embeddings, grounding_loss, joint_variance
from pumice.train.parallel import ALONE, Ranks, flat_shares, let_go, shares, whole
from pumice.train.pictures import Pictures
from pumice.train.preference import Pairs, answer_groups, pairs_of
from pumice.types import Batch, IntArray


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage's training and validation share.

    ``position_ids_4`` are the tokens of the grounding's words for left, right, top and bottom; ``ranks`` are
    those that train together. ``flat`` says that samples may be laid end to end in rows of any length
    (``attending.lays_flat``).
    """

    stage: Stage
    pictures: Pictures
    position_ids_4: Tensor | None
    ranks: Ranks = ALONE
    flat: bool = False

    @property
    def split(self) -> bool:
        """Whether weights are split over ranks, so that all must compute alike."""
        return not self.ranks.alone


def autocast(stage: Stage, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The precision of a stage: bf16 autocast, or none (``computes_half``)."""
    if not computes_half(stage, device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def computes_half(stage: Stage, device: torch.device) -> bool:
    """Whether a stage's matrix products are taken in bfloat16.

    ``auto`` is bf16 where the device multiplies bf16 faster than fp32: CUDA, and CPUs with AVX-512 BF16
    or AMX; and planned (on the meta device) it is a GPU's.
    """
    if stage.precision != "auto":
        return stage.precision == "bf16"
    return device.type in ("cuda", "meta") or (
        device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def has_branches(stage: Stage) -> bool:
    """Whether samples of a stage's rows have branches that do not see each other."""
    return stage.branch_turns or stage.kind == "prefer"


def step_parts(plan: Plan, step: int, lengths: IntArray, context: Context) -> list[list[list[Sequence[int]]]]:
    """A step's samples by part and rank, in rows: ``shares``, or ``flat_shares`` where rows may be flat."""
    rows, parts, world = plan.steps[step], context.stage.accumulation, context.ranks.world
    if context.flat:
        return flat_shares(rows, lengths, parts, world)
    return shares(rows, [int(lengths[list(row)].sum()) for row in rows], parts, world)


def filled(plan: Plan, context: Context) -> float:
    """The share of computed places that hold a token, 0 to 1; of flat rows about, by the padding of each."""
    if not context.flat:
        return plan.fill
    tokens = sum(plan.tokens)
    rows = len(plan) * context.stage.accumulation * context.ranks.world
    return tokens / (tokens + rows * LONE_MULTIPLE / 2)


@contextlib.contextmanager
def measuring(model: VisionLanguageModel) -> Iterator[None]:
    """The model as it answers, without dropout and gradients; behind it, as it was."""
    trained = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        yield
    let_go(model)
    for module, mode in trained.items():
        module.training = mode


@dataclass(frozen=True, slots=True)
class Losses:
    """A batch's losses: the text's summed, the grounding's a mean over pictures with boxes where there is
    one; the embeddings [length, D] of a grounded stage's pictures, and the pairs of a stage that prefers."""

    text: Tensor
    grounding: Tensor | None
    embeds: list[Tensor]
    pairs: Pairs | None = None


def stage_losses(
    model: VisionLanguageModel,
    batch: Batch,
    data: StageData,
    context: Context,
    spread: Tensor | None = None,
    table_VD: Tensor | None = None,
) -> Losses:
    """The losses of a batch.

    Args:
        model: all ranks call it together where its weights are split over them.
        batch: what to learn; it may hold nothing (``StageData.empty``).
        data: where its samples are.
        context: the stage's.
        spread: the variance of the wanted features of all parts of a step (``step_spread``); None takes
            that of this batch.
        table_VD: the language model's embeddings (``word_table``), where the stage is grounded.
    """
    spans = [(image.row, image.start, image.length) for image in batch.images]
    device = model.device
    views = data.views(batch)
    tiles, encoded = context.pictures.inputs(model, views) if views or context.split else (None, False)
    ids, labels, positions, segments, branches = (
        torch.from_numpy(array).to(device)
        for array in (batch.input_ids, batch.labels, batch.position_ids, batch.segment_ids, batch.branch_ids)
    )
    groups = answer_groups(batch, device) if context.stage.kind == "prefer" else None
    total, count, embeds = model(
        ids,
        labels,
        positions,
        segments,
        branches,
        spans,
        tiles=tiles,
        encoded=encoded,
        layouts=[view.layout for view in views],
        keep=context.stage.grounding is not None,
        groups=groups,
    )
    assert count == batch.supervised, f"{count} supervised tokens seen, {batch.supervised} planned"
    if groups is not None:
        return Losses(total.sum(), None, embeds, pairs_of(batch, total, data.references))
    wanted = _wanted(batch, data, context, table_VD) if embeds else None
    if wanted is None:
        return Losses(total, None, embeds)
    known_N, wanted_NPD = wanted
    embeds_NPD = torch.stack(embeds)  # a grounded stage has one square a picture
    return Losses(total, grounding_loss(embeds_NPD[known_N], wanted_NPD, spread), embeds)


def word_table(model: VisionLanguageModel, stage: Stage) -> Tensor | None:
    """The language model's embeddings [V, D], whole, where a stage is grounded in them."""
    if stage.grounding is None:
        return None
    return whole(model.lm.get_input_embeddings().weight.detach()).to(model.device)


def step_spread(
    batches: Sequence[Batch], data: StageData, context: Context, table_VD: Tensor | None
) -> Tensor | None:
    """The variance of the features wanted in all parts of a step together; None where there are none.

    The grounding loss is a share of it. Each part's own would make the result depend on the split.
    """
    wanted = [_wanted(batch, data, context, table_VD) for batch in batches if batch.images]
    known = [pair[1] for pair in wanted if pair is not None]
    return joint_variance(known) if known else None


def _wanted(
    batch: Batch, data: StageData, context: Context, table_VD: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Which pictures of a batch have boxes (bool [N]), and the wanted features of those [n, P, D]."""
    grounding = context.stage.grounding
    if grounding is None:
        return None
    assert table_VD is not None, "a grounded stage needs the word table"
    cells, known_N = data.cells(batch, grounding)
    if not known_N.any():
        return None
    device, words_4 = table_VD.device, context.position_ids_4
    wanted_nPD = cell_embeddings(
        table_VD,
        torch.from_numpy(cells.words[known_N]).to(device),
        torch.from_numpy(cells.places[known_N]).to(device),
        None if words_4 is None else words_4.to(device),
    )
    return torch.from_numpy(known_N).to(device), wanted_nPD
