"""A stage before its first step: its data read, checked and counted, and its plan decided."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pumice.data import mixture as mix
from pumice.data.holes import Holes
from pumice.data.plan import Plan, build_plan
from pumice.data.preflight import Preflight, preflight
from pumice.data.problems import Refusals
from pumice.data.samples import pictures_of
from pumice.errors import DataError, RecipeError
from pumice.image.settings import VideoSettings
from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Recipe, Stage
from pumice.text.resolve import resolve_template
from pumice.train.dataset import StageData
from pumice.train.pictures import Pictures
from pumice.train.remember import Budget
from pumice.train.sources import fingerprint_of, refusals_of, refused_rows, source_of
from pumice.types import IntArray

DECODED = 50_000
"""Up to so many pictures of a source are decoded before the first step; of more, headers are read."""


class CheckObserver(Protocol):
    """Who is told how far checks are."""

    def on_check(self, what: str, done: int, total: int) -> None:
        """While files, pictures and samples are looked at."""


@dataclass(slots=True)
class Prepared:
    """A stage that passed its checks; ``lengths`` are the tokens of each sample of ``data``.

    ``first_hole`` is the first step that lacks a row, of a plan with holes that has any.
    """

    data: StageData
    plan: Plan
    validation: StageData | None
    mixture: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    position_ids_4: torch.Tensor | None
    lengths: IntArray
    first_hole: int | None = None

    def forget(self) -> None:
        """Drop what is remembered of the samples, for the stages that follow."""
        for part in (self.data, self.validation):
            if part is not None:
                part.forget()


def prepare(
    recipe: Recipe,
    stage: Stage,
    model: VisionLanguageModel,
    tokenizer: Any,
    pictures: Pictures,
    observer: CheckObserver,
    budget: Budget,
    cache: Path | None = None,
    holes: Holes | None = None,
) -> Prepared:
    """Read, check and count a stage's data, and decide its plan; ``cache`` keeps what pictures were good.

    With ``holes`` the plan is that of an earlier run, without the rows that were erased since.
    """
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

    refusals, is_first = refusals_of(recipe, stage), stage is recipe.stages[0]
    mixture = mix.read_mixture(
        [source_of(recipe, name) for name in stage.sources],
        seed=recipe.seed,
        cache_folder=cache,
        progress=observer.on_check,
        refusals=refusals,
    )
    places = None
    if holes is not None:
        mixture, places = holes.mixture(mixture)
    data = stage_data(mixture.samples)
    checked = _checked(data, stage, model, pictures, observer, cache, refusals, first=is_first)
    mixture, checked = mixture.without(checked.refused), checked.usable()
    data.samples = mixture.samples
    lengths = checked.lengths
    first = None if holes is None or places is None else holes.first(places)
    if holes is not None and places is not None:
        holes.check_whole(places, len(lengths))
    if holes is not None and places is not None and first is not None:
        plan = holes.plan(places, lengths, checked.supervised, fingerprint_of(mixture, stage))
    else:
        plan = stage_plan(stage, mixture, checked, recipe.seed)
    rows = _rows(stage, mixture, checked, refusals)
    validation = None
    held_out_rows: list[dict[str, Any]] = []
    if stage.validation is not None and stage.validation.source is not None:
        source = source_of(recipe, stage.validation.source)
        limits = [limit for limit in (source.limit, stage.validation.limit) if limit is not None]
        source = dataclasses.replace(source, limit=min(limits, default=None))
        held_out = mix.read_mixture([source], seed=recipe.seed, cache_folder=cache, refusals=refusals)
        validation = stage_data(held_out.samples)
        checked = _checked(validation, stage, model, pictures, observer, cache, refusals, first=is_first)
        held_out, checked = held_out.without(checked.refused), checked.usable()
        validation.samples = held_out.samples
        held_out_rows = _rows(stage, held_out, checked, refusals)
    check_grounding(stage, data, validation)
    refused = refused_rows(stage, refusals)
    return Prepared(data, plan, validation, rows, held_out_rows, refused, position_ids_4, lengths, first)


def _rows(stage: Stage, mixture: mix.Mixture, checked: Preflight, refusals: Refusals) -> list[dict[str, Any]]:
    """What each source brings to a stage, as ``mixture.json`` has it."""
    summaries = mix.summarise(mixture, checked.lengths, checked.supervised, refusals)
    return [{"stage": stage.name, **dataclasses.asdict(row)} for row in summaries]


def _checked(
    data: StageData,
    stage: Stage,
    model: VisionLanguageModel,
    pictures: Pictures,
    observer: CheckObserver,
    cache: Path | None,
    refusals: Refusals,
    *,
    first: bool,
) -> Preflight:
    """Preflight; pictures are decoded where they will be at once anyway, or where they are not many.

    Features on disk of the first stage are made, or were, before the run's first step: that decodes every
    picture. Only where rows may be left out must it be known now which.
    """
    count = len(pictures_of(data.samples))
    geometry = pictures.geometry
    most = count * geometry.most_tiles
    kept = "vision" not in stage.parts and pictures.fits(model, most, stage.features)
    on_disk = first and stage.features.keep == "disk" and not refusals.any_allowed
    checked = preflight(
        data.samples,
        data.encode,
        decode=not on_disk and (kept or count <= DECODED),
        # A model that knows no video refuses it when the row is counted: one frame is enough until then.
        video=geometry.settings.video or VideoSettings(frames=1, newline="none"),
        cache_folder=cache,
        settings=data.settings(),
        workers=os.cpu_count() or 1,
        progress=observer.on_check,
        max_positions=getattr(model.lm.config, "max_position_embeddings", None),
        refusals=refusals,
    )
    pictures.know(data.samples, checked.sizes)
    return checked


def stage_plan(stage: Stage, mixture: mix.Mixture, checked: Preflight, seed: int) -> Plan:
    """The plan of a stage: what `pumice plan` foresees and training follows."""
    return build_plan(
        checked.lengths,
        checked.supervised,
        seed=seed,
        rows_per_step=stage.rows,
        samples_per_step=stage.samples_per_step,
        row_length=stage.row_length,
        epochs=stage.epochs,
        steps=stage.steps,
        most=stage.most_steps,
        fingerprint=fingerprint_of(mixture, stage),
        name=lambda index: str(mixture.samples.origin(index)),
    )


def check_grounding(stage: Stage, data: StageData, validation: StageData | None) -> None:
    """DataError for what would fail or teach nothing only once training has begun."""
    if "language" not in stage.parts and not pictures_of(data.samples):
        raise DataError(
            f"only {' and '.join(stage.trainable)} would train, and no sample has a picture",
            where=f"stages.{stage.name}.sources",
            remedy="add data with pictures, or let language train",
        )
    if stage.grounding is not None:
        for part in (data, validation):
            if part is not None:
                part.check_cells(stage.grounding)


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
