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
    Grids,
    LayerNames,
    Name,
    Names,
    PartName,
    PartPath,
    PartPaths,
    Parts,
    PathText,
    Problem,
    Rate,
    RecipeName,
    Scales,
    StageKind,
    Strict,
    Variants,
    Words,
    Words4,
    as_tuple,
    no_repeats,
)
from pumice.types import DataFormat

DEFAULT_TRAINABLE: dict[StageKind, tuple[PartName, ...]] = {
    "align": ("connector",),
    "instruct": ("connector", "language"),
}
"""What trains in a stage that does not say (LLaVA 1.5: the projector; the projector and the LM)."""

NEW_MODEL: dict[str, Any] = {
    "connector": "mlp2x_gelu",
    "select_layer": -2,
    "select_feature": "patch",
    "image": {},
}
"""What a new model has where the recipe does not say; a checkpoint brings its own."""

NEXT_GRIDS = ("1x2", "2x1", "2x2", "3x1", "1x3")
"""LLaVA-NeXT's five canvases in its order, (336, 672) first, in tiles."""

EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("epochs", "steps"),
    ("tokens_per_step", "rows_per_step", "samples_per_step"),
)
"""Groups of stage fields of which exactly one is set; an override of one unsets the others."""


class ImageOptions(Strict):
    """How a picture becomes the tower's square, or several."""

    aspect: Literal["crop", "pad", "squash", "anyres"] = Field(
        default="pad",
        description="crop: resize the short side, cut the centre out; pad: fill up to a square with the mean "
        "colour, as LLaVA 1.5 instructs; squash: resize both sides, changing the shape of things; anyres: "
        "the whole picture squashed, and tiles of it at a higher resolution, as LLaVA-NeXT.",
    )
    grids: Grids = Field(
        default=NEXT_GRIDS,
        min_length=1,
        description="anyres only: the canvases a picture may fill, in tiles, columns x rows; of equally good "
        "ones the first is taken.",
    )
    max_tiles: Count | None = Field(
        default=None,
        description="anyres only: shrink the map of a picture's features to about so many tiles' worth "
        "(anyres_max_N); null: never.",
    )
    merge: Literal["flat", "spatial", "spatial_unpad"] = Field(
        default="spatial_unpad",
        description="anyres only: how tiles become tokens. flat: tile after tile; spatial: row by row over "
        "the whole picture; spatial_unpad: that without the padding, and a learnt newline after each row.",
    )
    flavour: Literal["original", "transformers"] = Field(
        default="transformers",
        description="anyres only: whose rounding; a few pictures in 100,000 differ. What transformers is to "
        "load takes transformers.",
    )
    multi_image: Literal["pad", "same"] = Field(
        default="pad",
        description="anyres only: the pictures of a sample that has several. pad: one padded square each; "
        "same: tiles, like a single one.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.aspect != "anyres":
            for name in ("grids", "max_tiles", "merge", "flavour", "multi_image"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise Problem(
                        f"{name} belongs to the aspect anyres, and this is {self.aspect}",
                        f"remove {name}, or set aspect to anyres",
                        (name,),
                    )
        if self.max_tiles is not None and self.merge != "spatial_unpad":
            raise Problem(
                f"max_tiles needs the merge spatial_unpad, and this is {self.merge}",
                "remove max_tiles, or set merge to spatial_unpad",
                ("max_tiles",),
            )
        return self


class VideoOptions(Strict):
    """How the frames of a video become tokens (docs/images.md)."""

    frames: Count = Field(default=32, description="How many frames are sampled; with fps the most that are.")
    fps: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Frames a second to sample; null: evenly over the whole video."
    )
    aspect: Literal["crop", "pad", "squash"] = Field(
        default="squash", description="What makes one square of a frame; frames are never tiled."
    )
    stride: Count = Field(default=2, description="The pooling over a frame's features; 1 is none.")
    pooling: Literal["average", "max", "bilinear"] = Field(
        default="average", description="average and max drop an odd last row, bilinear rounds up."
    )
    newline: Literal["grid", "frame", "one_token", "none"] = Field(
        default="none",
        description="Where the learnt newline stands: after each row, each frame, once at the end, or "
        "nowhere. Only models with anyres and spatial_unpad have one.",
    )
    before_connector: bool = Field(
        default=True,
        description="true pools the tower's features, as LLaVA-NeXT-Video; false the connector's output.",
    )


class Model(Strict):
    """The parts the model is built from, or the whole model it starts from."""

    vision: PartPath | None = Field(
        default=None,
        description="The vision tower: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose tower is taken, hub:ORG/NAME, embedded:NAME or random:NAME. Needed unless "
        "checkpoint is given.",
    )
    more_vision: PartPaths = Field(
        default=(),
        description="Further towers, read at once with the first: features are brought to its grid and "
        "joined along the channels. transformers has no place for such a model; pumice.load reads it.",
    )
    scales: Scales = Field(
        default=(),
        description="Read the one tower at these sizes in pixels (S2), the first its own, the others "
        "multiples of it; empty: at its own size alone.",
    )
    language: PartPath | None = Field(
        default=None,
        description="The language model: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose language model is taken, hub:ORG/NAME, embedded:NAME or random:NAME. The "
        "connector is new in any case, even where vision names the same model. Needed unless checkpoint is "
        "given.",
    )
    checkpoint: PartPath | None = Field(
        default=None,
        description="A whole LLaVA to go on from, connector included, in place of vision and language: a "
        "folder in any layout, hub:ORG/NAME, or embedded:NAME.",
    )
    connector: Connector | None = Field(
        default=None,
        description="What joins them: linear, mlp2x_gelu (any mlpNx_gelu), or identity. Left out: "
        "mlp2x_gelu. A checkpoint has its own.",
    )
    select_layer: int | None = Field(
        default=None,
        description="Which of the tower's hidden states are the features; negative counts from the end. "
        "Left out: -2. A checkpoint has its own.",
    )
    select_feature: Literal["patch", "cls_patch"] | None = Field(
        default=None,
        description="patch: without the class token; cls_patch: with it. Left out: patch. A checkpoint has "
        "its own.",
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="The conversation template of the finished model, by its exact name. A checkpoint has "
        "its own, which this replaces.",
    )
    image: ImageOptions | None = Field(
        default=None,
        description="How pictures are prepared. Left out: pad. A checkpoint has its own, which this "
        "replaces.",
    )
    video: VideoOptions | None = Field(
        default=None,
        description="How videos are prepared; null: as the checkpoint does, and a new model knows none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("checkpoint") is not None:
            return value
        given = {key: item for key, item in value.items() if item is not None}
        return {**value, **NEW_MODEL, **{key: item for key, item in given.items() if key in NEW_MODEL}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint is not None:
            for name in ("vision", "language", "connector", "select_layer", "select_feature"):
                if getattr(self, name) is not None:
                    raise Problem(
                        f"both checkpoint and {name} are set, and a checkpoint has its own {name}",
                        f"remove {name}, or name vision and language in place of checkpoint",
                        (name,),
                    )
            for name in ("more_vision", "scales"):
                if getattr(self, name):
                    raise Problem(
                        f"{name} builds a new model, and checkpoint is one", f"remove {name}", (name,)
                    )
            return self
        for name in ("vision", "language", "template"):
            if getattr(self, name) is None:
                raise Problem(
                    f"the key 'model.{name}' is missing",
                    "add it; it takes text (or name a whole model as checkpoint)",
                    (name,),
                )
        if self.more_vision and self.scales:
            raise Problem("several towers are read at one scale", "remove scales or more_vision", ("scales",))
        return self


class Source(Strict):
    """One file (or folder) of samples and the folder its pictures are in."""

    file: PathText = Field(
        description="A data file: JSON or JSONL, parquet, a tar shard, a folder of either, or hub:ORG/NAME."
    )
    images: PathText | None = Field(
        default=None, description="The folder that image names are relative to; none for text-only data."
    )
    weight: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0, description="How often an epoch takes each sample: 2 is twice, 0.5 takes half of them."
    )
    limit: Count | None = Field(
        default=None, description="Use only so many samples of the file, chosen by the seed."
    )
    format: DataFormat | None = Field(
        default=None, description="What the file is; null tells it by its ending and its first row's keys."
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="A response-format prompt, put behind every question on a line of its own, such as "
        "Answer the question using a single word or phrase.",
    )
    licence: str | None = Field(
        default=None, min_length=1, description="Under which licence the data is; goes into the run's record."
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


class Lora(Strict):
    """Train low-rank additions to the language model's weights in place of the weights (PEFT)."""

    rank: Count = Field(default=128, description="The rank of each addition.")
    alpha: Annotated[float, Field(gt=0)] = Field(
        default=256.0, description="Each addition is scaled by alpha / rank."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="The share of its inputs that an addition does not see while training."
    )
    targets: LayerNames = Field(
        default=(),
        description="Which linear layers of the language model get one, by the last part of their names, "
        "such as q_proj; empty: all but the head.",
    )
    dora: bool = Field(default=False, description="Train magnitudes beside directions (DoRA).")
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="nf4: hold the frozen weights of those layers in 4 bits (QLoRA); null: as they are.",
    )
    double_quantization: bool = Field(
        default=True, description="With quantize: quantise the scales of its blocks, too."
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
    lora: Lora | None = Field(
        default=None,
        description="Train additions of low rank to the language model (LoRA, DoRA, QLoRA); null: its own "
        "weights.",
    )
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
        description="Packed rows of one optimiser step over all devices. Exactly one of rows_per_step, "
        "tokens_per_step and samples_per_step.",
    )
    tokens_per_step: Count | None = Field(
        default=None, description="The same in tokens: a multiple of row_length. Exactly one of the three."
    )
    samples_per_step: Count | None = Field(
        default=None,
        description="The same in samples, as published recipes count their batches; they are packed into as "
        "few rows as they fit in. Exactly one of the three.",
    )
    accumulation: Count = Field(
        default=1, description="Take a step's rows in so many parts, to save memory; the result is the same."
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="auto", description="fp32, bf16 autocast, or auto: bf16 where the device is faster with it."
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Keep one activation a layer and compute the rest again in the backward pass: less "
        "memory, about a third more arithmetic, the same result.",
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="A template for this stage alone, such as plain; null: the model's.",
    )
    aspect: Literal["crop", "pad", "squash"] | None = Field(
        default=None,
        description="How pictures become single squares in this stage alone, without tiles and newlines; "
        "null: as model.image says. LLaVA 1.5 aligns on crops and instructs on padded pictures.",
    )
    too_long: Literal["refuse", "cut"] = Field(
        default="refuse",
        description="What happens to a sample longer than row_length. refuse: an error before the first "
        "step; cut: whole turns are left out from the end, never a part of one and never an image.",
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
        for group in EXCLUSIVE:
            given = [key for key in group if getattr(self, key) is not None]
            choices = f"{', '.join(group[:-1])} and {group[-1]}"
            if len(given) > 1:
                raise Problem(
                    f"both {given[0]} and {given[1]} are set", f"keep one of {choices}", (given[1],)
                )
            if not given:
                raise Problem(f"neither {' nor '.join(group)} is set", f"set one of {choices}")
        self._check_rows()
        if self.lora is not None and "language" not in self.trainable:
            raise Problem(
                "lora is for the language model, which is frozen in this stage",
                "add language to trainable, or remove lora",
                ("lora",),
            )
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
        if self.rows is not None and self.rows % self.accumulation:
            raise Problem(
                f"{self.rows} rows a step cannot be taken in {self.accumulation} equal parts",
                "make accumulation a divisor of the rows of a step",
                ("accumulation",),
            )

    @property
    def rows(self) -> int | None:
        """Packed rows of one optimiser step, over all devices and accumulation parts; None where a step is
        a number of samples."""
        if self.tokens_per_step is not None:
            return self.tokens_per_step // self.row_length
        return self.rows_per_step


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


class Published(Strict):
    """What a stage of a published run was, so that a plan can be held against it."""

    samples: Count = Field(description="Samples of one epoch.")
    images: Annotated[int, Field(ge=0)] = Field(description="Pictures of one epoch.")
    text_tokens: Annotated[float, Field(gt=0)] = Field(
        description="Tokens of a sample beside those of its pictures, on average, with the padding of the "
        "published code."
    )
    hardware: str = Field(min_length=1, description="A hardware's name, as pumice plan --hardware takes it.")
    devices: Count = Field(description="How many of them.")
    sharding: Literal["none", "grads", "full"] = Field(
        description="What was split over devices: nothing; gradients and optimiser states (ZeRO-2); weights "
        "too (ZeRO-3, FSDP)."
    )
    hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="How long it took there; null: not published."
    )
    source: str = Field(default="", description="Where these figures are from.")


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
