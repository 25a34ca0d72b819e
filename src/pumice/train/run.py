"""A run: a recipe's stages, one after the other, in a folder that tells the whole story.

    runs/NAME/recipe.yaml, run.json, mixture.json
    runs/NAME/stages/STAGE/plan.json, metrics.jsonl, state/, best/, model/, adapter/, reference.safetensors
    and, while it trains, frozen/

Everything that can fail is tried before the first step: all files of all stages are read, all pictures'
headers checked (and all decoded where they are not too many), all samples rendered and counted, the
model built and a state saved.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pumice.data.index import CACHE_FOLDER
from pumice.data.licensing import check_licences, licence_notes
from pumice.data.plan import Plan
from pumice.errors import Interrupted, RunError
from pumice.files import write_json, write_text
from pumice.image.process import ImageProcessor, Mode
from pumice.model import Checkpoint, VisionLanguageModel
from pumice.model.adapter import BasePart
from pumice.model.attention import set_attention
from pumice.model.geometry import model_geometry
from pumice.model.save import load_model, save_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.text.templates import check_template_name
from pumice.train.adapters import (
    attach,
    base_of,
    check_extras,
    check_targets,
    finish,
    made_of,
)
from pumice.train.arithmetic import Arithmetic
from pumice.train.attending import attend, check_attention, lays_flat
from pumice.train.best import Ask, check_kept
from pumice.train.checkpoint import list_states
from pumice.train.energy import machine_counters, metered
from pumice.train.keeping import check_room, keep_features, kept_views
from pumice.train.lean import begin_lean, drop_frozen, make_lean, quantises
from pumice.train.lineage import parents_of, write_stage_lineage
from pumice.train.losses import Context, computes_half, filled
from pumice.train.machine import check_machine, compiled_layers, machine_notes, offloads
from pumice.train.metrics import last_step, return_memory
from pumice.train.observe import RunObserver, Silent
from pumice.train.optim import check_trainable, checkpoint_activations, freeze, partly_of, trimmed_of
from pumice.train.parallel import ALONE, Ranks, bring_back, split_copy
from pumice.train.pictures import Pictures
from pumice.train.prepare import DECODED, Prepared, prepare
from pumice.train.record import (
    Parts,
    check_folder,
    check_parts,
    describe_parts,
    finished_rows,
    finished_stages,
    new_record,
)
from pumice.train.reference import REFERENCE, read_references
from pumice.train.remember import Budget
from pumice.train.reuse import Reuse, keep_holes, own_holes
from pumice.train.running import Running, asking_of, best_of, never_asked
from pumice.train.sessions import end_session
from pumice.train.sources import REFUSED, write_refused
from pumice.train.stage import StageRun, run_stage
from pumice.train.start import starting_model
from pumice.train.validate import Validator
from pumice.words import counted

__all__ = ["CACHE_FOLDER", "DECODED", "Parts", "Prepared", "RunObserver", "Silent", "train"]

RENDERED_BYTES = 1024**3
"""What the stages of a run remember of their samples, rendered and laid out: room for some 500,000
conversations. What does not fit is made again."""


def train(
    recipe: Recipe,
    folder: Path,
    parts: Parts,
    observer: RunObserver,
    *,
    command: str,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
    ask: Ask | None = None,
    restart: bool = False,
    reuse: Reuse | None = None,
) -> Path:
    """Run all stages of a recipe; returns the folder of the last stage's model.

    Several ranks call it together, each in a process of its own; the first one writes and tells.

    Args:
        recipe: what to do.
        folder: the run's folder; made if absent, and empty unless ``resume``.
        parts: the two checkpoints.
        observer: told of progress.
        command: how the run was started, for its record.
        resume: go on with the run in ``folder`` (the same recipe).
        stop: asked before each step; True on any rank saves and raises ``Interrupted``.
        ranks: this process among those that train together (``join_ranks``).
        ask: asked about the model in training every ``evaluation.every`` steps, where the recipe says so.
        restart: with ``resume``: begin a stage again of which steps were done and no state can be read.
        reuse: an earlier run from which is taken what would come out the same.

    Raises:
        PumiceError: anything a user can mend; nothing was written if it happened before the first step.
    """
    check_extras(recipe)
    text = dump_recipe(recipe)
    check_folder(folder, text, resume)
    _check_templates(recipe)
    described = describe_parts(recipe, parts)
    check_parts(folder, described)
    observer = observer if ranks.lead else Silent()
    model, tokenizer, processor = starting_model(recipe, parts)
    for stage in recipe.stages:
        check_trainable(model, stage)
        check_targets(model, stage)
        check_attention(model, stage, ranks.device)
        checkpoint_activations(model, stage)
    check_machine(recipe, model, ranks)
    galleries = _galleries(recipe, model, processor)
    cache = folder.parent / CACHE_FOLDER
    budget = Budget(RENDERED_BYTES)
    if not ranks.lead:
        ranks.wait()  # the first one reads all files and keeps what it found for the others
    holes = {stage.name: own_holes(folder, stage) for stage in recipe.stages}
    if reuse is not None and not resume:
        holes = {stage.name: reuse.holes(recipe, stage) for stage in recipe.stages}
    prepared = [
        prepare(
            recipe,
            stage,
            model,
            tokenizer,
            galleries[stage.aspect],
            observer,
            budget,
            cache,
            holes[stage.name],
        )
        for stage in recipe.stages
    ]
    if ranks.lead:
        ranks.wait()
    trained = [row for ready in prepared for row in ready.mixture]
    if recipe.policy is not None:
        check_licences(recipe.policy, trained)
    finished = finished_stages(folder)
    for stage, ready in zip(recipe.stages, prepared, strict=True):
        ranks.check_same(ready.plan.digest, "data or settings")
        check_kept(recipe.evaluation if ask is not None else None, stage, len(ready.plan))
        if stage.name not in finished:
            check_room(stage, ready, galleries[stage.aspect], model, cache)
    for stage, ready in zip(recipe.stages, prepared, strict=True):
        place = folder / "stages" / stage.name
        if stage.name in finished or list_states(place / "state"):
            Plan.load(place / "plan.json", expect=ready.plan.digest)

    record = new_record(recipe, folder, described, command, ranks.world)
    ranks.wait()  # none writes before all have read what was there
    if ranks.lead:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "recipe.yaml", text)
        write_json(folder / "mixture.json", trained)
        write_refused(folder / REFUSED, [row for stage in prepared for row in stage.refused])
        write_json(folder / "run.json", record)
        keep_holes({name: one for name, one in holes.items() if one is not None}, folder)
        if reuse is not None:
            by_name = {stage.name: ready for stage, ready in zip(recipe.stages, prepared, strict=True)}
            reuse.take_stages(recipe, by_name, described, record, folder, cache)
            reuse.tell(observer)
    ranks.wait()  # stages that were taken are there
    if not ranks.lead:
        record["stages"] = finished_rows(folder)
    running = Running(
        recipe,
        folder,
        Checkpoint(model, tokenizer, processor),
        record,
        observer,
        stop,
        ranks,
        ask,
        restart,
        reuse,
    )
    try:
        for stage, ready in zip(recipe.stages, prepared, strict=True):
            pictures = galleries[stage.aspect]
            for other in galleries.values():
                if other is not pictures:
                    other.forget()  # the tower may train before they are needed again, and they take room
            before = partial(base_of, recipe, stage, described, parts, folder)
            begins = partial(parents_of, recipe, stage, described, parts, folder)
            _run_one(running, stage, ready, pictures, before, begins)
            ready.forget()
            pictures.let_go()
    except (Interrupted, KeyboardInterrupt) as error:
        running.close("interrupted")
        what = str(error) if isinstance(error, Interrupted) else _lost(running)
        remedy = f"go on with the same command and --resume (the run is in {folder})"
        raise Interrupted(what, where=str(folder), remedy=remedy) from error
    except (OSError, SafetensorError) as error:
        running.close("failed")
        raise RunError(
            f"the run cannot be written ({error})",
            where=str(folder),
            remedy="make room or choose another disk, then resume: the last good state is kept",
        ) from error
    except BaseException:
        running.close("failed")
        raise
    finally:
        for pictures in galleries.values():
            pictures.let_go()
        if ranks.lead:
            for stage in recipe.stages:
                drop_frozen(folder / "stages" / stage.name)
    record["status"] = "finished"
    record["final"] = record["stages"][-1]["model"]
    end_session(record["sessions"][-1], folder, "finished")
    running.keep()
    return folder / str(record["final"])


def _lost(running: Running) -> str:
    """What a stop in the middle of a step leaves: the last state, and how many steps were done since."""
    finished = {row["name"] for row in running.record["stages"]}
    for stage in running.recipe.stages:
        place = running.folder / "stages" / stage.name
        if stage.name in finished:
            continue
        states = list_states(place / "state")
        if not states:
            return f"stopped at once; of stage {stage.name!r} nothing is saved yet"
        kept, done = states[-1].step, last_step(place / "metrics.jsonl")
        saved = f"its step {kept} is saved" if kept else "nothing but its start is saved"
        lost = max(done - kept, 0)
        steps = f", and {counted(lost, 'step')} after it must be done again" if lost else ""
        return f"stopped at once in stage {stage.name!r}: {saved}{steps}"
    return "stopped at once; all stages are saved"


def _run_one(
    running: Running,
    stage: Stage,
    ready: Prepared,
    pictures: Pictures,
    base: Callable[[], dict[str, BasePart]],
    begins: Callable[[], dict[str, dict[str, Any]]],
) -> None:
    """One stage: skipped with its weights loaded if it was finished before, else trained and saved."""
    recipe, folder, ranks, observer = running.recipe, running.folder, running.ranks, running.observer
    place = folder / "stages" / stage.name
    model = running.whole.model
    done = next((row for row in running.record["stages"] if row["name"] == stage.name), None)
    # Counted while the language model is whole: additions and weights of 4 bits hide its layers.
    shape = model_shape(model)
    additions = additions_of(model.lm, stage.lora) if stage.lora is not None else None
    partly = partly_of(model, stage, shape)
    if done is None and ranks.alone and quantises(stage):
        model.to(ranks.device)  # weights of 4 bits are made where they are used
    attached = attach(model, stage, recipe.seed) if done is None else None
    counts = freeze(model, stage)
    checkpoint_activations(model, stage)
    kept = kept_views(ready, pictures, model, stage, ranks)
    if kept is not None and stage.features.keep == "memory":
        pictures.expect(kept)
    if done is not None:
        observer.on_skipped(stage, done)
        _load_weights(model, folder / done["model"])
        if ranks.lead:
            _drop_states(place)  # of a run that was killed just before it did so
        return
    attend(model, stage)
    lineage = None
    if ranks.lead:
        place.mkdir(parents=True, exist_ok=True)
        ready.plan.save(place / "plan.json")
        cache = folder.parent / CACHE_FOLDER
        lineage = write_stage_lineage(recipe, stage, ready, begins(), running.record, folder, cache, observer)
        if running.reuse is not None:
            running.reuse.take_state(stage, ready, folder, lineage.record)
            running.reuse.tell(observer)
    ranks.wait()  # what was taken is there
    lean = begin_lean(model, stage, ranks, place)
    context = Context(stage, pictures, ready.position_ids_4, ranks, lays_flat(model, stage, ranks.device))
    validator = None
    if ready.validation is not None:
        validator = Validator(ready.validation, range(len(ready.validation.samples)), context)
    half = computes_half(stage, ranks.device)
    away = offloads(stage, ranks.device) == "all"
    worker = split_copy(model, ranks, make_lean if half else None, half=half, offload=away)
    cache = folder.parent / CACHE_FOLDER
    features = keep_features(stage, kept, pictures, worker, ranks, observer, cache)
    summary = {
        "steps": len(ready.plan),
        "tokens": sum(ready.plan.tokens),
        "fill": filled(ready.plan, context),
        "cut": ready.data.cut(),
        "trainable": counts.trainable,
        "frozen": counts.frozen,
        "entries": counts.entries,
        "sources": ready.mixture,
        "validation": ready.held_out,
        "half": half,
        "ranks": ranks.world,
        "features": features,
        "notes": [
            *machine_notes(stage, ranks.device),
            *never_asked(running, stage, len(ready.plan)),
            *licence_notes(recipe.policy, ready.mixture),
        ],
    }
    if stage.kind == "prefer":
        path = place / REFERENCE
        with compiled_layers(worker, stage):
            read_references(worker, ready, validator, context, path, observer.on_check)
    observer.on_stage(stage, summary)
    run = StageRun(
        context,
        place,
        ready.plan,
        ready.data,
        ready.lengths,
        validator,
        recipe.seed,
        running.stop,
        Arithmetic(shape, stage, additions, kept is not None, context.flat, partly, trimmed_of(model, stage)),
        best_of(running, stage, worker, attached, base, lean, lineage),
        asking_of(running, stage, worker),
        restart=running.restart,
        lineage=None if lineage is None else lineage.record,
    )
    return_memory()
    # Of a stage that goes on, nothing tells what it took before.
    whole = ranks.lead and not any(state.step for state in list_states(place / "state"))
    counters = machine_counters(ranks.device, ranks.world) if whole else []
    with compiled_layers(worker, stage), metered(counters) as meter:
        seconds = run_stage(worker, run, observer)
    return_memory()
    bring_back(model, worker)
    lean.end(model)
    model.eval()
    set_attention(model.lm, "auto")
    saved = place / "model"
    if attached is not None:
        made = made_of(recipe, stage, len(ready.plan))
        target = place / "adapter" if ranks.lead else None
        record = None if lineage is None else lineage.of("adapter", len(ready.plan))
        finish(attached, running.whole, target, base(), made, record, tower="vision" in stage.parts)
        observer.on_saved(stage, place / "adapter")
    if lineage is not None:
        # float32: the next stage and an exact resume go on from what is written here.
        save_model(*running.whole, saved, dtype="float32", lineage=lineage.of("stage", len(ready.plan)))
    ranks.wait()
    running.record["stages"].append(
        {
            "name": stage.name,
            "kind": stage.kind,
            "steps": len(ready.plan),
            "seconds": round(seconds, 1),
            **({} if (used := meter.told()) is None else {"energy": used}),
            "trainable": counts.trainable,
            "frozen": counts.frozen,
            "entries": counts.entries,
            "features": features,
            "model": f"stages/{stage.name}/model",
            **({} if attached is None else {"adapter": f"stages/{stage.name}/adapter"}),
        }
    )
    running.keep()
    if ranks.lead:
        _drop_states(place)
    observer.on_saved(stage, saved)


def _galleries(
    recipe: Recipe, model: VisionLanguageModel, processor: ImageProcessor
) -> dict[Mode | None, Pictures]:
    """The pictures of all stages that prepare them alike are kept together."""
    aspects: dict[Mode | None, None] = dict.fromkeys(stage.aspect for stage in recipe.stages)
    return {
        aspect: Pictures(model_geometry(model.config, model.tower, processor, aspect)) for aspect in aspects
    }


def _drop_states(place: Path) -> None:
    """Remove the states of a stage whose model is saved and recorded: they are three times its size."""
    shutil.rmtree(place / "state", ignore_errors=True)  # what stays costs room and nothing else


def _check_templates(recipe: Recipe) -> None:
    for name in (recipe.model.template, *(stage.template for stage in recipe.stages)):
        if name is not None:
            check_template_name(name)


def _load_weights(model: VisionLanguageModel, folder: Path) -> None:
    saved, _, _ = load_model(folder, template=model.config.template)
    model.load_state_dict(saved.state_dict())
