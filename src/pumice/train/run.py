"""A run: a recipe's stages, one after the other, in a folder that tells the whole story.

    runs/NAME/recipe.yaml, run.json, mixture.json
    runs/NAME/stages/STAGE/plan.json, metrics.jsonl, state/, model/, adapter/

Everything that can fail is tried before the first step: all files of all stages are read, all pictures'
headers checked (and all decoded where they are not too many), all samples rendered and counted, the
model built and a state saved.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError

from pumice.data import mixture as mix
from pumice.data.index import CACHE_FOLDER
from pumice.data.plan import Plan, build_plan
from pumice.data.preflight import Preflight, preflight
from pumice.data.problems import Refusals
from pumice.data.samples import images_at, pictures_of
from pumice.errors import DataError, Interrupted, RecipeError, RunError
from pumice.files import write_json, write_text
from pumice.image.process import ImageProcessor, Mode
from pumice.model import Checkpoint, VisionLanguageModel
from pumice.model.adapter import BasePart
from pumice.model.geometry import model_geometry
from pumice.model.save import load_model, save_model
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.text.resolve import resolve_template
from pumice.text.templates import check_template_name
from pumice.train.adapters import attach, base_of, check_extras, check_targets, finish, lineage
from pumice.train.checkpoint import list_states
from pumice.train.dataset import StageData
from pumice.train.loop import Observer, StageRun, run_stage
from pumice.train.losses import Context
from pumice.train.optim import check_trainable, checkpoint_activations, freeze
from pumice.train.pictures import Pictures, View
from pumice.train.record import (
    Parts,
    check_folder,
    check_parts,
    close,
    describe_parts,
    finished_stages,
    new_record,
)
from pumice.train.remember import Budget
from pumice.train.sources import REFUSED, fingerprint_of, refusals_of, refused_rows, source_of, write_refused
from pumice.train.start import starting_model
from pumice.train.validate import Validator

__all__ = ["CACHE_FOLDER", "DECODED", "Parts", "Prepared", "RunObserver", "train"]

DECODED = 50_000
"""Up to so many pictures of a source are decoded before the first step; of more, headers are read."""

RENDERED_BYTES = 1024**3
"""What the stages of a run remember of their samples, rendered and laid out: room for some 500,000
conversations. What does not fit is made again."""


class RunObserver(Observer, Protocol):
    """Who watches a whole run."""

    def on_check(self, what: str, done: int, total: int) -> None:
        """While files, pictures and samples are looked at."""

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        """Before a stage's first step: steps, tokens, what trains with counts, and its sources' rows."""

    def on_saved(self, stage: Stage, folder: Path) -> None:
        """After a stage's adapter, and after its model was written."""


@dataclass(slots=True)
class Prepared:
    """A stage that passed its checks."""

    data: StageData
    plan: Plan
    validation: StageData | None
    mixture: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    position_ids_4: torch.Tensor | None

    def forget(self) -> None:
        """Drop what is remembered of the samples, for the stages that follow."""
        for part in (self.data, self.validation):
            if part is not None:
                part.forget()


def train(
    recipe: Recipe,
    folder: Path,
    parts: Parts,
    observer: RunObserver,
    *,
    command: str,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Run all stages of a recipe; returns the folder of the last stage's model.

    Args:
        recipe: what to do.
        folder: the run's folder; made if absent, and empty unless ``resume``.
        parts: the two checkpoints.
        observer: told of progress.
        command: how the run was started, for its record.
        resume: go on with the run in ``folder`` (the same recipe).
        stop: asked before each step; True saves and raises ``Interrupted``.

    Raises:
        PumiceError: anything a user can mend; nothing was written if it happened before the first step.
    """
    check_extras(recipe)
    text = dump_recipe(recipe)
    check_folder(folder, text, resume)
    _check_templates(recipe)
    described = describe_parts(recipe, parts)
    check_parts(folder, described)
    model, tokenizer, processor = starting_model(recipe, parts)
    for stage in recipe.stages:
        check_trainable(model, stage)
        check_targets(model, stage)
        checkpoint_activations(model, stage)
    if torch.cuda.is_available():
        model.to("cuda")
    galleries = _galleries(recipe, model, processor)
    cache = folder.parent / CACHE_FOLDER
    budget = Budget(RENDERED_BYTES)
    prepared = [
        _prepare(recipe, stage, model, tokenizer, galleries[stage.aspect], observer, budget, cache)
        for stage in recipe.stages
    ]
    finished = finished_stages(folder)
    for stage, ready in zip(recipe.stages, prepared, strict=True):
        place = folder / "stages" / stage.name
        if stage.name in finished or list_states(place / "state"):
            Plan.load(place / "plan.json", expect=ready.plan.digest)

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", text)
    write_json(folder / "mixture.json", [row for stage in prepared for row in stage.mixture])
    write_refused(folder / REFUSED, [row for stage in prepared for row in stage.refused])
    record = new_record(recipe, folder, described, command)
    write_json(folder / "run.json", record)
    try:
        for stage, ready in zip(recipe.stages, prepared, strict=True):
            pictures = galleries[stage.aspect]
            whole = Checkpoint(model, tokenizer, processor)
            base = partial(base_of, recipe, stage, described, parts, folder)
            _run_one(recipe, stage, ready, whole, pictures, folder, base, record, observer, stop)
            ready.forget()
    except (Interrupted, KeyboardInterrupt) as error:
        close(folder, record, "interrupted")
        what = str(error) if isinstance(error, Interrupted) else "stopped"
        remedy = f"go on with the same command and --resume (the run is in {folder})"
        raise Interrupted(what, where=str(folder), remedy=remedy) from error
    except (OSError, SafetensorError) as error:
        close(folder, record, "failed")
        raise RunError(
            f"the run cannot be written ({error})",
            where=str(folder),
            remedy="make room or choose another disk, then resume: the last good state is kept",
        ) from error
    except BaseException:
        close(folder, record, "failed")
        raise
    record["status"] = "finished"
    record["final"] = record["stages"][-1]["model"]
    write_json(folder / "run.json", record)
    return folder / str(record["final"])


def _run_one(
    recipe: Recipe,
    stage: Stage,
    ready: Prepared,
    whole: Checkpoint,
    pictures: Pictures,
    folder: Path,
    base: Callable[[], dict[str, BasePart]],
    record: dict[str, Any],
    observer: RunObserver,
    stop: Callable[[], bool],
) -> None:
    """One stage: skipped with its weights loaded if it was finished before, else trained and saved."""
    place = folder / "stages" / stage.name
    model = whole.model
    done = next((row for row in record["stages"] if row["name"] == stage.name), None)
    attached = attach(model, stage, recipe.seed) if done is None else None
    counts = freeze(model, stage)
    checkpoint_activations(model, stage)
    kept = _kept_views(ready, pictures, model)
    if kept is not None:
        pictures.expect(kept)
    if done is not None:
        _load_weights(model, folder / done["model"])
        _drop_states(place)  # of a run that was killed just before it did so
        return
    place.mkdir(parents=True, exist_ok=True)
    ready.plan.save(place / "plan.json")
    context = Context(stage, pictures, ready.position_ids_4)
    validator = None
    if ready.validation is not None:
        validator = Validator(ready.validation, range(len(ready.validation.samples)), context)
    if kept is not None:
        pictures.prepare(model, kept, observer.on_check)
    else:
        pictures.forget()
    summary = {
        "steps": len(ready.plan),
        "tokens": sum(ready.plan.tokens),
        "fill": ready.plan.fill,
        "cut": ready.data.cut(),
        "trainable": counts.trainable,
        "frozen": counts.frozen,
        "sources": ready.mixture,
        "validation": ready.held_out,
    }
    observer.on_stage(stage, summary)
    run = StageRun(context, place, ready.plan, ready.data, validator, recipe.seed, stop)
    seconds = run_stage(model, run, observer)
    model.eval()
    if attached is not None:
        made = lineage(recipe, stage, len(ready.plan))
        finish(attached, whole, place / "adapter", base(), made, tower="vision" in stage.trainable)
        observer.on_saved(stage, place / "adapter")
    # float32: the next stage and an exact resume go on from what is written here.
    save_model(*whole, place / "model", dtype="float32")
    record["stages"].append(
        {
            "name": stage.name,
            "kind": stage.kind,
            "steps": len(ready.plan),
            "seconds": round(seconds, 1),
            "trainable": counts.trainable,
            "frozen": counts.frozen,
            "model": f"stages/{stage.name}/model",
            **({} if attached is None else {"adapter": f"stages/{stage.name}/adapter"}),
        }
    )
    write_json(folder / "run.json", record)
    _drop_states(place)
    observer.on_saved(stage, place / "model")


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


def _prepare(
    recipe: Recipe,
    stage: Stage,
    model: VisionLanguageModel,
    tokenizer: Any,
    pictures: Pictures,
    observer: RunObserver,
    budget: Budget,
    cache: Path | None = None,
) -> Prepared:
    """Read, check and count a stage's data, and decide its plan; ``cache`` keeps what pictures were good."""
    template = resolve_template(stage.template or model.config.template, tokenizer)
    position_ids_4 = grounding_words(stage, tokenizer)

    def stage_data(samples: Sequence[Any]) -> StageData:
        return StageData(
            samples,
            tokenizer,
            template,
            pictures=pictures,
            image_token_id=model.config.image_token_id,
            stage=stage,
            budget=budget,
        )

    refusals = refusals_of(recipe, stage)
    mixture = mix.read_mixture(
        [source_of(recipe, name) for name in stage.sources],
        seed=recipe.seed,
        cache_folder=cache,
        progress=observer.on_check,
        refusals=refusals,
    )
    data = stage_data(mixture.samples)
    checked = _checked(data, stage, model, pictures, observer, cache, refusals)
    mixture, checked = mixture.without(checked.refused), checked.usable()
    data.samples = mixture.samples
    plan = build_plan(
        checked.lengths,
        checked.supervised,
        seed=recipe.seed,
        rows_per_step=stage.rows,
        samples_per_step=stage.samples_per_step,
        row_length=stage.row_length,
        epochs=stage.epochs,
        steps=stage.steps,
        fingerprint=fingerprint_of(mixture, stage),
        name=lambda index: str(mixture.samples.origin(index)),
    )
    rows = _rows(stage, mixture, checked, refusals)
    validation = None
    held_out_rows: list[dict[str, Any]] = []
    if stage.validation is not None:
        source = source_of(recipe, stage.validation.source)
        limits = [limit for limit in (source.limit, stage.validation.limit) if limit is not None]
        source = dataclasses.replace(source, limit=min(limits, default=None))
        held_out = mix.read_mixture([source], seed=recipe.seed, cache_folder=cache, refusals=refusals)
        validation = stage_data(held_out.samples)
        checked = _checked(validation, stage, model, pictures, observer, cache, refusals)
        held_out, checked = held_out.without(checked.refused), checked.usable()
        validation.samples = held_out.samples
        held_out_rows = _rows(stage, held_out, checked, refusals)
    check_grounding(stage, data, validation)
    refused = refused_rows(stage, refusals)
    return Prepared(data, plan, validation, rows, held_out_rows, refused, position_ids_4)


def _rows(stage: Stage, mixture: mix.Mixture, checked: Preflight, refusals: Refusals) -> list[dict[str, Any]]:
    """What each source brings to a stage, as ``mixture.json`` has it."""
    summaries = mix.summarise(mixture, checked.lengths, checked.supervised, refusals)
    return [{"stage": stage.name, **dataclasses.asdict(row)} for row in summaries]


def _checked(
    data: StageData,
    stage: Stage,
    model: VisionLanguageModel,
    pictures: Pictures,
    observer: RunObserver,
    cache: Path | None,
    refusals: Refusals,
) -> Preflight:
    """Preflight; pictures are decoded where they will be at once anyway, or where they are not many."""
    count = len(pictures_of(data.samples))
    geometry = pictures.geometry
    kept = "vision" not in stage.trainable and pictures.fits(model, count * geometry.most_tiles)
    checked = preflight(
        data.samples,
        data.encode,
        decode=kept or count <= DECODED,
        video=geometry.settings.video,
        cache_folder=cache,
        settings=data.settings(),
        workers=os.cpu_count() or 1,
        progress=observer.on_check,
        max_positions=getattr(model.lm.config, "max_position_embeddings", None),
        refusals=refusals,
    )
    pictures.know(data.samples, checked.sizes)
    return checked


def check_grounding(stage: Stage, data: StageData, validation: StageData | None) -> None:
    """DataError for what would fail or teach nothing only once training has begun."""
    if "language" not in stage.trainable and not pictures_of(data.samples):
        raise DataError(
            f"only {' and '.join(stage.trainable)} would train, and no sample has a picture",
            where=f"stages.{stage.name}.sources",
            remedy="add data with pictures, or let language train",
        )
    if stage.grounding is not None:
        for part in (data, validation):
            if part is not None:
                part.check_cells(stage.grounding)


def _kept_views(ready: Prepared, pictures: Pictures, model: VisionLanguageModel) -> list[View] | None:
    """All that a stage shows, in its plan in order of first use, then in validation; None where the features
    are not kept: the tower trains, or they are too many."""
    if not pictures.keeps(model, 0):
        return None
    used: dict[View, None] = {}
    tiles = 0
    for view in _views(ready, pictures):
        if view not in used:
            used[view] = None
            tiles += view.layout.tiles
            if not pictures.fits(model, tiles):
                return None
    return list(used)


def _views(ready: Prepared, pictures: Pictures) -> Iterator[View]:
    places = dict.fromkeys(i for step in range(len(ready.plan)) for i in ready.plan.samples(step))
    for i in places:
        yield from pictures.views(images_at(ready.data.samples, i))
    if ready.validation is not None:
        held_out = ready.validation.samples
        for i in range(len(held_out)):
            yield from pictures.views(images_at(held_out, i))


def grounding_words(stage: Stage, tokenizer: Any) -> torch.Tensor | None:
    """The tokens of a stage's position words, if it has any; all its other words are checked as well."""
    grounding = stage.grounding
    if grounding is None:
        return None
    where = f"stages.{stage.name}.grounding"
    for name, words in grounding.attributes.items():
        _single_tokens(words, tokenizer, f"{where}.attributes.{name}")
    if grounding.center_word is not None:
        _single_tokens([grounding.center_word], tokenizer, f"{where}.center_word")
    if grounding.position_words is None:
        return None
    return torch.tensor(_single_tokens(grounding.position_words, tokenizer, f"{where}.position_words"))


def _single_tokens(words: Sequence[str], tokenizer: Any, where: str) -> list[int]:
    """The token of each word, as it stands inside a sentence; RecipeError for one of several tokens."""
    ids = []
    for word in words:
        pieces = tokenizer.encode(" " + word, add_special_tokens=False)
        if len(pieces) != 1:
            raise RecipeError(
                f"the word {word!r} is {len(pieces)} tokens in this language model",
                where=where,
                remedy="choose words that are one token each, or leave them out",
            )
        ids.append(int(pieces[0]))
    return ids


def _check_templates(recipe: Recipe) -> None:
    for name in (recipe.model.template, *(stage.template for stage in recipe.stages)):
        if name is not None:
            check_template_name(name)


def _load_weights(model: VisionLanguageModel, folder: Path) -> None:
    saved, _, _ = load_model(folder, template=model.config.template)
    model.load_state_dict(saved.state_dict())
