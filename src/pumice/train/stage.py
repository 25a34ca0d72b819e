"""A run's stage as the step loop sees it: the rows of its plan, its losses, what it measures.

The loss is per supervised token over all parts of a step, however its rows are split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pumice.data.plan import Plan
from pumice.data.samples import images_at
from pumice.model import VisionLanguageModel
from pumice.train.arithmetic import Arithmetic
from pumice.train.best import Asking, Best
from pumice.train.dataset import StageData
from pumice.train.faults import StepWords, step_faults
from pumice.train.loop import Observer, Terms, run_steps
from pumice.train.losses import Context, autocast, stage_losses, step_parts, step_spread, word_table
from pumice.train.optim import build_optimizer, rate_factor, trainable
from pumice.train.preference import Pairs, zeros
from pumice.train.validate import Validator
from pumice.types import IntArray
from pumice.words import counted


@dataclass(frozen=True, slots=True)
class StageRun:
    """All a stage needs; ``lengths`` are the tokens of each of the data's samples, int64 [samples].

    ``keeps`` says that states are saved; only a run that is timed and then thrown away does without.
    ``restart`` and ``lineage`` are those of ``loop.Terms``.
    """

    context: Context
    folder: Path
    plan: Plan
    data: StageData
    lengths: IntArray
    validator: Validator | None
    seed: int
    stop: Callable[[], bool]
    arithmetic: Arithmetic | None = None
    best: Best | None = None
    asking: Asking | None = None
    keeps: bool = True
    restart: bool = False
    lineage: Mapping[str, Any] | None = None

    def row_tokens(self, step: int) -> list[int]:
        """Tokens of each row of a step."""
        return [int(self.lengths[list(row)].sum()) for row in self.plan.steps[step]]


def run_stage(model: VisionLanguageModel, run: StageRun, observer: Observer) -> float:
    """Train one stage to the end of its plan; as ``loop.run_steps``, seconds and errors alike."""
    return run_steps(StageTraining(model, run), observer)


class StageTraining:
    """A ``Training`` over a stage's plan.

    Args:
        model: what trains in it is open to gradients (``optim.freeze``).
        run: the stage.
    """

    def __init__(self, model: VisionLanguageModel, run: StageRun) -> None:
        self.model, self.run, stage = model, run, run.context.stage
        self.optimizer = build_optimizer(model, stage)
        self.weights = trainable(model)
        self.terms = Terms(
            name=stage.name,
            folder=run.folder,
            steps=len(run.plan),
            seed=run.seed,
            digest=run.plan.digest,
            device=model.device,
            clip_norm=stage.clip_norm,
            stop_norm=stage.stop_norm,
            checkpoint_every=stage.checkpoint_every,
            keep=stage.keep if run.keeps else 0,
            stop=run.stop,
            ranks=run.context.ranks,
            restart=run.restart,
            to_restart="add --restart-stage to begin the stage again",
            lineage=run.lineage,
        )

    def factor(self, step: int) -> float:
        """The schedule of the stage."""
        return rate_factor(self.run.context.stage, step, len(self.run.plan))

    def gradients(self, step: int) -> dict[str, float]:
        """Those of the rows of a step, in parts, each rank its share."""
        run = self.run
        if not run.plan.steps[step]:
            return {"loss": 0.0, "places": 0, "images": 0, "tokens": 0, "supervised": 0}  # all was erased
        figures = accumulate(self.model, run, step)
        if not figures["images"]:
            # Ranks compute through all parts alike and get zeros here, with which an optimiser would step on.
            for name, weight in self.weights.items():
                if not name.startswith("language."):
                    weight.grad = None
        tiles, image_tokens = figures.pop("tiles"), figures.pop("image_tokens")
        if run.arithmetic is not None:
            figures["flops"] = run.arithmetic.step(run.plan, run.lengths, step, tiles, image_tokens)
        return {**figures, "tokens": run.plan.tokens[step], "supervised": run.plan.supervised[step]}

    def measure(self, step: int) -> Iterator[dict[str, Any]]:
        """Validation at both ends and every so many steps, and questions on the way."""
        run, validation = self.run, self.run.context.stage.validation
        every = validation.every if validation else None
        due = step in (0, len(run.plan)) or (every is not None and step % every == 0)
        if run.validator is not None and due:
            with step_faults(self, max(step - 1, 0), "in the validation beside"):
                rows = run.validator(self.model, step)
            yield from rows
            if run.best is not None and run.best.figure is None and step:
                run.best.offer(step, rows[0]["loss"])
        if run.asking is not None and step and step % run.asking.every == 0:
            with step_faults(self, step - 1, "in the evaluation after"):
                row = run.asking(step)
            yield row
            if run.best is not None and run.best.figure is not None:
                run.best.weigh(step, row)

    def in_words(self, step: int) -> StepWords:
        """The samples of a step, its rows, and the changes of the recipe that save memory."""
        run = self.run
        samples = [str(run.data.samples[i].origin) for i in run.plan.samples(step)]
        return StepWords(samples, _batch(run, step), _lighter(run, step))


def accumulate(model: VisionLanguageModel, run: StageRun, step: int) -> dict[str, float]:
    """Gradients of one step; its losses as numbers, over all ranks."""
    context, stage = run.context, run.context.stage
    ranks, supervised = context.ranks, run.plan.supervised[step]
    parts = step_parts(run.plan, step, run.lengths, context)
    batches = [run.data.batch(part[ranks.rank]) if part[ranks.rank] else run.data.empty() for part in parts]
    table_VD, spread, grounded = word_table(model, stage), None, 0
    if stage.grounding is not None:
        everything = (
            batches if ranks.alone else [run.data.batch(rows) for part in parts for rows in part if rows]
        )
        spread = step_spread(everything, run.data, context, table_VD)
        grounded = sum(run.data.grounded(batch) for batch in everything)
    totals = zeros(stage.preference) if stage.preference is not None else {"loss": 0.0}
    if grounded:
        totals["grounding"] = 0.0
    for batch in batches:
        with autocast(stage, model.device):
            found = stage_losses(model, batch, run.data, context, spread, table_VD)
        if found.pairs is not None:
            loss, told = _preferred(found.pairs, run, step)
        else:
            loss, told = found.text / supervised, {"loss": float(found.text.detach()) / supervised}
        for name, value in told.items():
            totals[name] += value
        if found.grounding is not None and stage.grounding is not None:
            share = found.grounding * (run.data.grounded(batch) / grounded)
            loss = loss + stage.grounding.weight * share
            totals["grounding"] += float(share.detach())
        # Rows without a picture have no gradient where only the connector or the tower trains.
        if loss.requires_grad:
            torch.autograd.backward(loss)
    totals["places"] = sum(batch.input_ids.size for batch in batches)
    totals["images"] = sum(len(batch.images) for batch in batches)
    totals["tiles"] = sum(view.layout.tiles for batch in batches for view in run.data.views(batch))
    totals["image_tokens"] = sum(image.length for batch in batches for image in batch.images)
    return ranks.total(totals)


def _preferred(pairs: Pairs, run: StageRun, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    """What a part's pairs of answers add to a step of a stage of kind prefer."""
    options, references = run.context.stage.preference, run.data.references
    assert options is not None
    assert references is not None, "the reference is computed before the first step"
    samples = run.plan.samples(step)
    return pairs.share(options, len(samples), references.chosen_tokens(samples))


def _batch(run: StageRun, step: int) -> str:
    """The rows of a step, the longest of them and its pictures, in words."""
    tokens = run.row_tokens(step)
    pictures = sum(len(images_at(run.data.samples, i)) for i in run.plan.samples(step))
    parts, ranks = run.context.stage.accumulation, run.context.ranks.world
    split = [f"in {parts} parts"] * (parts > 1) + [f"over {ranks} ranks"] * (ranks > 1)
    rows = " ".join([counted(len(tokens), "row"), *split])
    longest = f"the longest of {max(tokens):,} tokens"
    return f"{rows}, {longest}, {counted(pictures, 'picture')}"


def _lighter(run: StageRun, step: int) -> str:
    """The changes of a recipe that save memory, the cheapest first; only those that are left."""
    stage = run.context.stage
    key = f"stages.{stage.name}"
    rows = stage.rows or len(run.plan.steps[step])
    more = next((n for n in range(stage.accumulation + 1, rows + 1) if rows % n == 0), None)
    changes = []
    if more is not None and more * run.context.ranks.world <= max(rows, more):
        changes.append(f"{key}.accumulation={more} (the same result)")
    if not stage.activation_checkpointing:
        changes.append(f"{key}.activation_checkpointing=true (the same result, more time)")
    if stage.optimizer == "adamw":
        changes.append(f"{key}.optimizer=adamw_8bit (nearly the same result)")
    if run.context.ranks.device.type != "cpu" and stage.offload == "none":
        changes.append(f"{key}.offload=optimizer (the same result, more time)")
    if stage.row_length > 1:
        changes.append(f"a {key}.row_length below {stage.row_length}")
    if "language" in stage.parts and stage.lora is None:
        changes.append(f"{key}.lora={{}} (trains additions alone)")
    return f"start a run under another --name with {'; or '.join(changes)}"
