"""What the model gives to pairs of answers before a stage that prefers: computed once, kept, read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pumice.model import VisionLanguageModel
from pumice.train.dataset import StageData
from pumice.train.losses import Context, autocast, measuring, stage_losses, step_parts
from pumice.train.preference import References, load_references, save_references
from pumice.train.prepare import Prepared
from pumice.train.validate import Validator
from pumice.types import Batch

REFERENCE = "reference.safetensors"
"""The file in a stage's folder."""

Progress = Callable[[str, int, int], None]


def read_references(
    model: VisionLanguageModel,
    ready: Prepared,
    validator: Validator | None,
    context: Context,
    path: Path,
    progress: Progress,
) -> None:
    """Give a stage's data its references: those of the file, or new ones, which the first rank writes there.

    All ranks call it together, while the model is as the stage begins: before a state is loaded. Batches are
    those of the first epoch's steps, so the first step's margins are 0.

    Args:
        model: whole, or split over the ranks.
        ready: the stage's data and plan.
        validator: for the pairs that are held out.
        context: the stage's.
        path: the file.
        progress: told how many batches were read.

    Raises:
        RunError: the file is of another plan.
    """
    ranks, digest = context.ranks, ready.plan.digest
    parts = {"train": ready.data}
    if validator is not None:
        parts["validation"] = validator.data
    found = load_references(path, {name: len(data.samples) for name, data in parts.items()}, digest)
    if ranks.any(found is None):
        with measuring(model):
            rounds = list(_rounds(ready, context))
            shown = _batches(rounds, ready.data, progress)
            found = {"train": _computed(model, ready.data, shown, context)}
            if validator is not None:
                held_out = ((batch, set(batch.samples)) for batch in validator.batches())
                found["validation"] = _computed(model, validator.data, held_out, context)
        if ranks.lead:
            save_references(path, found, digest)
        ranks.wait()
    assert found is not None
    for name, data in parts.items():
        data.references = found[name]


Round = tuple[list[tuple[int, ...]], set[int]]
"""The rows of one rank in a part of a step, and the samples that are shown there for the first time."""


def _rounds(ready: Prepared, context: Context) -> Iterator[Round]:
    """The parts of the plan's steps that show a sample for the first time, as many on every rank."""
    ranks, seen = context.ranks, set[int]()
    for step in range(len(ready.plan)):
        for part in step_parts(ready.plan, step, ready.lengths, context):
            fresh = {index for rows in part for row in rows for index in row} - seen
            if fresh:
                yield [tuple(row) for row in part[ranks.rank]], fresh
            seen |= fresh


def _batches(
    rounds: Sequence[Round], data: StageData, progress: Progress
) -> Iterator[tuple[Batch, set[int]]]:
    for number, (rows, fresh) in enumerate(rounds, start=1):
        yield data.batch(rows) if rows else data.empty(), fresh
        progress("reading pairs", number, len(rounds))


def _computed(
    model: VisionLanguageModel,
    data: StageData,
    batches: Iterable[tuple[Batch, set[int]]],
    context: Context,
) -> References:
    """The references of the samples of some batches, each with those that count there, over all ranks."""
    sums_N5 = np.zeros((len(data.samples), 5))  # log probabilities, tokens, and whether it was read
    for batch, fresh in batches:
        with autocast(context.stage, model.device):
            pairs = stage_losses(model, batch, data, context).pairs
        assert pairs is not None
        chosen = [place for place, index in enumerate(batch.samples) if index in fresh]
        samples = [batch.samples[place] for place in chosen]
        sums_N5[samples, 0:2] = pairs.logps_P2.double().cpu().numpy()[chosen]
        sums_N5[samples, 2:4] = pairs.tokens_P2.cpu().numpy()[chosen]
        sums_N5[samples, 4] = 1
    total_N5 = context.ranks.total_array(sums_N5)
    logps_N2 = np.where(total_N5[:, 4:] > 0, total_N5[:, 0:2], np.nan)
    return References(logps_N2, total_N5[:, 2:4].astype(np.int64))
