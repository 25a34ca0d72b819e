"""What a recipe may say: every field once, with its meaning.

The models are strict (no value is coerced), frozen, and refuse unknown keys. Rules that join
several fields raise ``Problem``, which names the key at fault and what to do about it. Whether
files, templates and checkpoints exist is for the packages that open them. Each block has a module of its
own; all of them can be had from here.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from pumice.errors import suggest
from pumice.licences import Policy
from pumice.recipes.evaluation import Evaluation
from pumice.recipes.features import Features
from pumice.recipes.image import ImageOptions, VideoOptions
from pumice.recipes.licences import Licences
from pumice.recipes.model import Model
from pumice.recipes.published import Published
from pumice.recipes.source import Source
from pumice.recipes.stage import Stage
from pumice.recipes.training import Grounding, LearningRates, Lora, Preference, Validation
from pumice.recipes.values import Name, Problem, RecipeName, Strict, as_tuple

__all__ = [
    "Evaluation",
    "Features",
    "Grounding",
    "ImageOptions",
    "LearningRates",
    "Licences",
    "Lora",
    "Model",
    "Preference",
    "Published",
    "Recipe",
    "Source",
    "Stage",
    "Validation",
    "VideoOptions",
]


class Recipe(Strict):
    """A whole run: the parts, the data, the stages and what is measured."""

    name: RecipeName = Field(description="Names the recipe, and the run's folder unless one is given.")
    description: str = Field(default="", description="What it makes, in a sentence.")
    command: str = Field(default="", description="The command that runs it.")
    hardware: str = Field(default="", description="What it was run on.")
    time: str = Field(default="", description="How long that took.")
    expected: str = Field(default="", description="The score it reached there.")
    source: str = Field(default="", description="Where its settings and scores are from.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Decides initial weights, order and every other chance."
    )
    model: Model = Field(description="The parts the model is built from.")
    data: dict[Name, Source] = Field(min_length=1, description="Named sources of samples.")
    licences: Licences | None = Field(
        default=None,
        description="What the licences of all rows must permit; null: they are counted, and none is refused.",
    )
    stages: Annotated[tuple[Stage, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1, description="Passes of training, in order."
    )
    evaluation: Evaluation | None = Field(
        default=None, description="What is measured at the end; null: nothing."
    )
    published: dict[Name, Published] = Field(
        default_factory=dict,
        description="By a stage's name, the sizes and times of the published run; pumice plan "
        "--published-size plans with them.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names: set[str] = set()
        for name in self.published:
            if name not in (stages := [stage.name for stage in self.stages]):
                raise Problem(f"there is no stage {name!r}", suggest(name, stages), ("published", name))
        trained = {source for stage in self.stages for source in stage.sources}
        for i, stage in enumerate(self.stages):
            at = ("stages", i)
            if stage.name in names:
                raise Problem(f"two stages are named {stage.name!r}", "give each its own name", (*at, "name"))
            names.add(stage.name)
            for k, source in enumerate(stage.sources):
                self._check_source(source, (*at, "sources", k))
            if stage.validation is not None and stage.validation.source is not None:
                key = (*at, "validation", "source")
                self._check_source(stage.validation.source, key)
                if stage.validation.source in trained:
                    raise Problem(
                        f"{stage.validation.source!r} validates here and trains another stage",
                        "validate on a source that no stage trains on",
                        key,
                    )
            self._check_kept(stage, (*at, "validation", "keep_best"))
        asked = self.evaluation
        # Tasks are never asked of the model after alignment.
        if asked is not None and asked.questions and "aligned" in asked.variants and not self.aligned:
            raise Problem(
                "the variant 'aligned' needs an align stage, and there is none",
                "leave 'aligned' out of evaluation.variants",
                ("evaluation", "variants"),
            )
        return self

    def _check_kept(self, stage: Stage, key: tuple[str | int, ...]) -> None:
        figure = None if stage.validation is None else stage.validation.figure
        asked = self.evaluation
        if figure is None:
            return
        if asked is None or not asked.tasks:
            raise Problem(
                f"{figure} is of a task, and the evaluation asks none",
                "name the task in evaluation.tasks, or choose by the loss: true",
                key,
            )
        task = figure.rpartition(".")[0]
        # A file of one's own says its name itself, and what all are depends on the folder.
        named = [one for one in asked.tasks if re.fullmatch(r"[a-z0-9-]+", one) and one != "all"]
        if len(named) == len(asked.tasks) and task not in named:
            raise Problem(f"the evaluation asks no task {task!r}", suggest(task, named), key)
        if asked.every is None:
            raise Problem(
                f"{figure} is never measured on the way",
                "say how often: evaluation.every, in steps",
                key,
            )

    def _check_source(self, name: str, key: tuple[str | int, ...]) -> None:
        if name not in self.data:
            raise Problem(f"there is no source {name!r} under data", suggest(name, self.data), key)

    @property
    def figures(self) -> dict[str, str]:
        """The figures of tasks by which best models are chosen, ``TASK.FIGURE``, each with a stage."""
        found = {stage.name: stage.validation.figure for stage in self.stages if stage.validation is not None}
        return {figure: name for name, figure in found.items() if figure is not None}

    @property
    def policy(self) -> Policy | None:
        """What the licences of rows must permit; None where the recipe does not say."""
        return None if self.licences is None else self.licences.policy

    @property
    def aligned(self) -> str | None:
        """The name of the last align stage, whose model answers as variant ``aligned``."""
        return next((stage.name for stage in reversed(self.stages) if stage.kind == "align"), None)

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            KeyError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
