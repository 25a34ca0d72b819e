"""Our side of a training benchmark without what a run writes: a model of 7B is timed and then thrown away.

Data, plan, packing, model and step loop are those of a run; states, the final model and the record are left
out, which would be some 100 GB of disk.
"""

from __future__ import annotations

import json
from pathlib import Path

from pumice.bench.ours import Clock, bench_recipe
from pumice.bench.worker import Spec, Took, peak_bytes
from pumice.model.geometry import model_geometry
from pumice.model.shape import additions_of, model_shape
from pumice.train.adapters import attach
from pumice.train.arithmetic import Arithmetic
from pumice.train.attending import attend, lays_flat
from pumice.train.keeping import keep_features, kept_views
from pumice.train.lean import begin_lean
from pumice.train.losses import Context
from pumice.train.optim import checkpoint_activations, freeze, trimmed_of
from pumice.train.parallel import ALONE
from pumice.train.pictures import Pictures
from pumice.train.prepare import prepare
from pumice.train.record import Parts
from pumice.train.remember import Budget
from pumice.train.run import RENDERED_BYTES
from pumice.train.stage import StageRun, run_stage
from pumice.train.start import starting_model


def run(spec: Spec) -> Took:
    """Train; features of the frozen tower are computed within the time."""
    recipe, clock = bench_recipe(spec), Clock()
    (stage,) = recipe.stages
    model, tokenizer, processor = starting_model(recipe, Parts(checkpoint=Path(spec.folder) / "model"))
    pictures = Pictures(model_geometry(model.config, model.tower, processor, stage.aspect))
    ready = prepare(recipe, stage, model, tokenizer, pictures, clock, Budget(RENDERED_BYTES))
    shape = model_shape(model)
    additions = additions_of(model.lm, stage.lora) if stage.lora is not None else None
    attach(model, stage, recipe.seed)  # of whole numbers: it may be on the CPU
    freeze(model, stage)
    checkpoint_activations(model, stage)
    attend(model, stage)
    folder = Path(spec.work) / "stage"
    folder.mkdir(parents=True)
    begin_lean(model, stage, ALONE, folder)
    kept = kept_views(ready, pictures, model, stage, ALONE)
    context = Context(stage, pictures, ready.position_ids_4, flat=lays_flat(model, stage, ALONE.device))
    if kept is not None:
        pictures.expect(kept)
    clock.on_stage(
        stage, {"features": keep_features(stage, kept, pictures, model, ALONE, clock, Path(spec.work))}
    )
    trimmed = trimmed_of(model, stage)
    arithmetic = Arithmetic(shape, stage, additions, kept is not None, context.flat, trimmed=trimmed)
    run_stage(
        model,
        StageRun(
            context,
            folder,
            ready.plan,
            ready.data,
            ready.lengths,
            None,
            recipe.seed,
            lambda: False,
            arithmetic,
            keeps=False,
        ),
        clock,
    )
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in told if row["kind"] == "train"]
    plan, share = ready.plan, (spec.steps - 1) / spec.steps
    # What any program must compute for these samples: each picture read once, no padding, nothing twice.
    once = stage.model_copy(update={"activation_checkpointing": False})
    needed = Arithmetic(shape, once, additions, kept=False, flat=True, trimmed=trimmed)
    done = Arithmetic(shape, stage, additions, kept=False, flat=context.flat, trimmed=trimmed)
    useful = carried = 0.0
    for step in range(1, spec.steps):
        shown = float(len(plan.samples(step)))  # each sample has a picture of its own
        useful += needed.step(plan, ready.lengths, step, shown, shown * model.tower.length)
        carried += done.step(plan, ready.lengths, step, shown, shown * model.tower.length)
    return Took(
        clock.encoding * share + clock.steps[-1] - clock.steps[0],
        peak_bytes(),
        [row["loss"] for row in rows],
        sum(plan.supervised[1:]),
        sum(plan.tokens[1:]),
        round(sum(row["places"] for row in rows[1:])),
        useful,
        carried,
    )
