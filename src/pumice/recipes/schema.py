"""What a recipe may say: every field once, with its meaning.

The models are strict (no value is coerced), frozen, and refuse unknown keys. Rules that join
several fields raise ``Problem``, which names the key at fault and what to do about it. Whether
files, templates and checkpoints exist is for the packages that open them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pumice.errors import suggest
from pumice.recipes.values import (
    Betas,
    Connector,
    Count,
    Name,
    Names,
    PartName,
    PartPath,
    Parts,
    PathText,
    Problem,
    Rate,
    StageKind,
    Strict,
    Variants,
    Words,
    Words4,
    as_tuple,
    no_repeats,
)

DEFAULT_TRAINABLE: dict[StageKind, tuple[PartName, ...]] = {
    "align": ("connector",),
    "instruct": ("connector", "language"),
}
"""What trains in a stage that does not say (LLaVA 1.5: the projector; the projector and the LM)."""

EXCLUSIVE: tuple[tuple[str, str], ...] = (("epochs", "steps"), ("tokens_per_step", "rows_per_step"))
"""Pairs of stage fields of which exactly one is set; an override of one unsets the other."""


class ImageOptions(Strict):
    """How a picture becomes the tower's square."""

    aspect: Literal["crop", "pad", "squash"] = Field(
        default="pad",
        description="crop: resize the short side, cut the centre out; pad: fill up to a square with the mean "
        "colour, as LLaVA 1.5 instructs; squash: resize both sides, changing the shape of things.",
    )


class Model(Strict):
    """The parts the model is built from."""

    vision: PartPath = Field(
        description="The vision tower: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose tower is taken, or embedded:NAME."
    )
    language: PartPath = Field(
        description="The language model: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose language model is taken, or embedded:NAME. The connector is new in any case, "
        "even where vision names the same model."
    )
    connector: Connector = Field(
        default="mlp2x_gelu", description="What joins them: linear, mlp2x_gelu (any mlpNx_gelu), or identity."
    )
    select_layer: int = Field(
        default=-2,
        description="Which of the tower's hidden states are the features; negative counts from the end.",
    )
    select_feature: Literal["patch", "cls_patch"] = Field(
        default="patch", description="patch: without the class token; cls_patch: with it."
    )
    template: str = Field(
        min_length=1, description="The conversation template of the finished model, by its exact name."
    )
    image: ImageOptions = Field(default_factory=ImageOptions, description="How pictures are prepared.")


class Source(Strict):
    """One file of samples and the folder its pictures are in."""

    file: PathText = Field(description="LLaVA JSON or JSONL.")
    images: PathText | None = Field(
        default=None, description="The folder that image names are relative to; none for text-only data."
    )
    weight: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0, description="How often an epoch takes each sample: 2 is twice, 0.5 takes half of them."
    )
    limit: Count | None = Field(
        default=None, description="Use only so many samples of the file, chosen by the seed."
    )


class LearningRates(Strict):
    """The peak learning rate of each part that trains."""

    connector: Rate | None = Field(default=None, description="Peak learning rate of the connector.")
    language: Rate | None = Field(default=None, description="Peak learning rate of the language model.")
    vision: Rate | None = Field(default=None, description="Peak learning rate of the vision tower.")


class Grounding(Strict):
    """Pull the feature at an object's centre towards the words for it (data with boxes only)."""

    weight: Annotated[float, Field(gt=0)] = Field(
        description="The weight of this loss beside the caption loss."
    )
    center_word: str | None = Field(
        default=None,
        min_length=1,
        description="A word added at the centre of every whole object, so that they can be counted.",
    )
    position_words: Words4 | None = Field(
        default=None,
        description="The words for left, right, top and bottom, blended in by where the centre of a "
        "patch's box lies, so that places can be read and compared.",
    )
    attributes: dict[Name, Words] = Field(
        default_factory=dict,
        description="Words of each attribute, such as colour: [red, blue]; validation reports, over all "
        "patches of the boxes whose phrase names one of them, how often the feature is nearest to that word.",
    )


class Validation(Strict):
    """A loss on data that no stage trains on."""

    source: str = Field(description="The name of a source under data.")
    limit: Count | None = Field(default=None, description="Use only so many samples, chosen by the seed.")
    every: Count | None = Field(
        default=None, description="Every so many steps; the end of the stage is always measured."
    )


class Stage(Strict):
    """One pass of training, from the model that the stage before it left."""

    name: Name = Field(description="Names the stage's folder, and the stage in overrides.")
    kind: StageKind = Field(description="align: captions teach the connector; instruct: conversations.")
    sources: Names = Field(
        min_length=1, description="The data it trains on: names of sources, mixed by their weights."
    )
    trainable: Parts = Field(
        default=(),
        description="What trains; everything else is frozen. Left out: connector for align, connector and "
        "language for instruct.",
    )
    lr: LearningRates = Field(description="A peak learning rate for each part that trains, and no other.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="AdamW's weight decay on matrices."
    )
    betas: Betas = Field(default=(0.9, 0.999), description="AdamW's two averages.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How learning rates fall from their peak to 0 at the last step, or do not.",
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.03, description="The share of steps over which learning rates rise from 0."
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=1.0, description="Gradients longer than this are cut to it; null leaves them."
    )
    epochs: Count | None = Field(
        default=None, description="How often to go through the sources. Exactly one of epochs and steps."
    )
    steps: Count | None = Field(
        default=None, description="How many optimiser steps. Exactly one of epochs and steps."
    )
    row_length: Count = Field(
        default=2048, description="Tokens of a packed row: the longest sample that fits, pictures included."
    )
    rows_per_step: Count | None = Field(
        default=None,
        description="Packed rows of one optimiser step over all devices. Exactly one of rows_per_step and "
        "tokens_per_step.",
    )
    tokens_per_step: Count | None = Field(
        default=None, description="The same in tokens: a multiple of row_length. Exactly one of the two."
    )
    accumulation: Count = Field(
        default=1, description="Take a step's rows in so many parts, to save memory; the result is the same."
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="auto", description="fp32, bf16 autocast, or auto: bf16 where the device is faster with it."
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="A template for this stage alone, such as plain; null: the model's.",
    )
    branch_turns: bool = Field(
        default=False,
        description="Questions about one picture that do not build on each other see the picture and "
        "themselves only; one reading of the picture serves them all.",
    )
    grounding: Grounding | None = Field(
        default=None, description="align only: also pull features at boxes towards the words for them."
    )
    validation: Validation | None = Field(
        default=None, description="Measure the loss on other data as it trains."
    )
    checkpoint_every: Count | None = Field(
        default=None,
        description="Save a resumable state every so many steps; the end of the stage is always saved.",
    )
    keep: Count = Field(default=1, description="How many resumable states to keep, the newest ones.")

    @model_validator(mode="before")
    @classmethod
    def _default_trainable(cls, value: Any) -> Any:
        if (
            isinstance(value, dict)
            and value.get("trainable") is None
            and value.get("kind") in DEFAULT_TRAINABLE
        ):
            return {**value, "trainable": DEFAULT_TRAINABLE[value["kind"]]}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.sources, "sources")
        no_repeats(self.trainable, "trainable")
        if not self.trainable:
            raise Problem("nothing trains in this stage", "name at least one part", ("trainable",))
        self._check_rates()
        for first, second in EXCLUSIVE:
            given = [key for key in (first, second) if getattr(self, key) is not None]
            if len(given) == 2:
                raise Problem(
                    f"both {first} and {second} are set", f"keep one of {first} and {second}", (second,)
                )
            if not given:
                raise Problem(f"neither {first} nor {second} is set", f"set one of {first} and {second}")
        self._check_rows()
        if self.grounding is not None and self.kind != "align":
            raise Problem(
                f"grounding belongs to align stages, and this one is {self.kind}", "remove it", ("grounding",)
            )
        if self.validation is not None and self.validation.source in self.sources:
            raise Problem(
                f"the stage trains on its own validation data, {self.validation.source!r}",
                "validate on a source that no stage trains on",
                ("validation", "source"),
            )
        return self

    def _check_rates(self) -> None:
        for part in ("connector", "language", "vision"):
            rate = getattr(self.lr, part)
            if part in self.trainable and rate is None:
                raise Problem(f"{part} trains but has no learning rate", f"set lr.{part}", ("lr",))
            if part not in self.trainable and rate is not None:
                raise Problem(
                    f"{part} has a learning rate but is frozen",
                    f"add {part} to trainable, or remove lr.{part}",
                    ("lr", part),
                )

    def _check_rows(self) -> None:
        tokens = self.tokens_per_step
        if tokens is not None and tokens % self.row_length:
            lower = max(tokens // self.row_length, 1) * self.row_length
            raise Problem(
                f"tokens_per_step {tokens} is no multiple of row_length {self.row_length}",
                f"the nearest that fit are {lower} and {lower + self.row_length}",
                ("tokens_per_step",),
            )
        if self.rows % self.accumulation:
            raise Problem(
                f"{self.rows} rows a step cannot be taken in {self.accumulation} equal parts",
                "make accumulation a divisor of the rows of a step",
                ("accumulation",),
            )

    @property
    def rows(self) -> int:
        """Packed rows of one optimiser step, over all devices and accumulation parts."""
        if self.rows_per_step is not None:
            return self.rows_per_step
        assert self.tokens_per_step is not None
        return self.tokens_per_step // self.row_length


class Evaluation(Strict):
    """What is measured once the last stage is done."""

    questions: PathText = Field(description="JSONL of questions with answers.")
    images: PathText | None = Field(default=None, description="The folder that image names are relative to.")
    limit: Count | None = Field(default=None, description="Ask only the first so many questions.")
    variants: Variants = Field(
        default=("tuned", "aligned", "blind", "wrong-image"),
        min_length=1,
        description="Who answers: tuned, the finished model; aligned, the model after the last align stage; "
        "blind, the finished one without the picture; wrong-image, the finished one with another picture.",
    )
    max_new_tokens: Count = Field(default=64, description="The longest answer, in tokens.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.variants, "variants")
        return self


class Recipe(Strict):
    """A whole run: the parts, the data, the stages and what is measured."""

    name: Name = Field(description="Names the recipe, and the run's folder unless one is given.")
    description: str = Field(default="", description="What it makes, in a sentence.")
    command: str = Field(default="", description="The command that runs it.")
    hardware: str = Field(default="", description="What it was run on.")
    time: str = Field(default="", description="How long that took.")
    expected: str = Field(default="", description="The score it reached there.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Decides initial weights, order and every other chance."
    )
    model: Model = Field(description="The parts the model is built from.")
    data: dict[Name, Source] = Field(min_length=1, description="Named sources of samples.")
    stages: Annotated[tuple[Stage, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1, description="Passes of training, in order."
    )
    evaluation: Evaluation | None = Field(
        default=None, description="What is measured at the end; null: nothing."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names: set[str] = set()
        trained = {source for stage in self.stages for source in stage.sources}
        for i, stage in enumerate(self.stages):
            at = ("stages", i)
            if stage.name in names:
                raise Problem(f"two stages are named {stage.name!r}", "give each its own name", (*at, "name"))
            names.add(stage.name)
            for k, source in enumerate(stage.sources):
                self._check_source(source, (*at, "sources", k))
            if stage.validation is not None:
                key = (*at, "validation", "source")
                self._check_source(stage.validation.source, key)
                if stage.validation.source in trained:
                    raise Problem(
                        f"{stage.validation.source!r} validates here and trains another stage",
                        "validate on a source that no stage trains on",
                        key,
                    )
        if self.evaluation is not None and "aligned" in self.evaluation.variants and not self.aligned:
            raise Problem(
                "the variant 'aligned' needs an align stage, and there is none",
                "leave 'aligned' out of evaluation.variants",
                ("evaluation", "variants"),
            )
        return self

    def _check_source(self, name: str, key: tuple[str | int, ...]) -> None:
        if name not in self.data:
            raise Problem(f"there is no source {name!r} under data", suggest(name, self.data), key)

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
